"""Finds what fell between: lapsed leases, lost messages, cancellations under way. And the program's other chores."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from lifecycle.engine import leases, queue
from lifecycle.engine.turns import LIVE, Busy, turn
from lifecycle.engine.workflow import UNDO
from lifecycle.models import Run, Step
from lifecycle.systems.base import whereabouts

log = logging.getLogger(__name__)
LOST_AFTER = timedelta(seconds=5)  # far longer than a message is on its way from the queue to a claim
LOST_IN_A_BACKLOG = timedelta(minutes=2)
_CHORES_LOCK = 7_040_001  # advisory lock: chores never run twice at once

_chores: dict[str, Callable[[], object]] = {}


def sweep() -> int:
    """Queues anew every step whose worker died or whose message was lost. Returns how many steps it freed."""
    freed = 0
    lost = set(_lost())
    stray = Step.objects.filter(leases.dead() | Q(pk__in=lost))
    cancelling = Q(cancel_requested=True, state__in=[*LIVE, Run.State.FAILED])
    pausing = Q(pause_requested=True, state=Run.State.RUNNING)
    runs = Run.objects.filter(Q(pk__in=stray.values("run")) | cancelling | pausing)
    for run_id in list(runs.values_list("pk", flat=True)):
        try:
            with turn(run_id, wait=False) as now:
                steps = Step.objects.filter(run=now.run)
                freed += steps.filter(leases.dead()).update(
                    lease_token=None, lease_until=None, enqueued_at=None
                )
                freed += steps.filter(pk__in=lost, lease_token=None).update(enqueued_at=None)
                now.go_on()
        except Busy:
            continue  # whoever acts on it queues what is due
    return freed


def _lost() -> list[int]:
    """Steps that are due, that nobody works on, and whose message is not in the queue any more.

    It was taken by a worker that died before its claim. Where the queue is too long to look through, only what was
    queued two minutes ago counts, or a backlog would multiply its messages.
    """
    moves = Q(run__state=Run.State.RUNNING, run__pause_requested=False, run__cancel_requested=False)
    undoes = Q(name=UNDO, run__cancel_requested=True)
    idle = Step.objects.filter(
        moves | undoes, lease_token=None, state__in=[Step.State.WAITING, Step.State.RUNNING]
    )

    def due_for(age: timedelta) -> list[int]:
        since = Now() - age
        return list(idle.filter(enqueued_at__lt=since, not_before__lt=since).values_list("pk", flat=True))

    candidates = due_for(LOST_AFTER)
    if not candidates:
        return []
    queued = queue.queued_steps()
    return (
        due_for(LOST_IN_A_BACKLOG) if queued is None else [each for each in candidates if each not in queued]
    )


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
                log.error("Chore %s failed: %s", name, whereabouts(error))
                failed.append(name)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_CHORES_LOCK])
    return failed
