"""Finds what fell between: lapsed leases, lost messages, cancellations under way. And the program's other chores."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from datetime import timedelta

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from lifecycle.engine import leases
from lifecycle.engine.turns import LIVE, OPEN, Busy, turn
from lifecycle.models import Run, Step

log = logging.getLogger(__name__)
LOST_AFTER = timedelta(minutes=2)  # else a backlog would multiply its messages
_CHORES_LOCK = 7_040_001  # advisory lock: chores never run twice at once

_chores: dict[str, Callable[[], object]] = {}


def sweep() -> int:
    """Queues anew every step whose worker died or whose message was lost. Returns how many steps it freed."""
    freed = 0
    cancelling = Q(cancel_requested=True, state__in=[*LIVE, Run.State.FAILED])
    pausing = Q(pause_requested=True, state=Run.State.RUNNING)
    runs = Run.objects.filter(Q(pk__in=_stray().values("run")) | cancelling | pausing).values_list(
        "pk", flat=True
    )
    for run_id in list(runs):
        try:
            with turn(run_id, wait=False) as now:
                freed += (
                    _stray().filter(run=now.run).update(lease_token=None, lease_until=None, enqueued_at=None)
                )
                now.go_on()
        except Busy:
            continue  # whoever acts on it queues what is due
    return freed


def release(tag: bytes) -> int:
    """Frees at once what a process held that is known to be dead. Returns how many steps."""
    freed = 0
    for run_id in set(leases.held_by(tag).values_list("run", flat=True)):
        with turn(run_id) as now:
            held = leases.held_by(tag).filter(run=now.run)
            freed += held.update(lease_token=None, lease_until=None, enqueued_at=None)
            now.go_on()
    return freed


def register_chore(name: str, work: Callable[[], object]) -> None:
    """Has `work()` done about once a minute by one worker; it must be idempotent and end within a minute."""
    _chores[name] = work


def do_chores() -> list[str]:
    """Does every chore; one that fails does not stop the others. Returns the names of those that failed."""
    failed: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_CHORES_LOCK])
        if not cursor.fetchone()[0]:
            return failed
    try:
        for name, work in _chores.items():
            try:
                work()
            except Exception as error:
                # Its text may name a person, so the log gets type and places only.
                frames = traceback.extract_tb(error.__traceback__)[-6:]
                places = " > ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
                log.error("Chore %s failed: %s in %s", name, type(error).__name__, places)
                failed.append(name)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_CHORES_LOCK])
    return failed


def _stray() -> QuerySet[Step]:
    """Steps whose worker is gone, and steps that are long due with nobody at them and an old message or none."""
    old = Now() - LOST_AFTER
    lost = Q(lease_token=None, state__in=OPEN, enqueued_at__lt=old, not_before__lt=old)
    lost &= Q(run__state=Run.State.RUNNING, run__pause_requested=False, run__cancel_requested=False)
    return Step.objects.filter(leases.dead() | lost)
