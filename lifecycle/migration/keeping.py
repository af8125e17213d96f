"""What of moves is looked after every minute by itself: trips, ways back that got stuck, kept green whose date passed,
outboxes that nobody reads any more."""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import datetime

import psycopg2
from django.utils import timezone

from compliance.actors import SYSTEM
from compliance.errors import Refused
from compliance.models import ErasureRequest
from lifecycle.engine import runs
from lifecycle.erasure import actions as erasing
from lifecycle.erasure import gates
from lifecycle.migration import actions, turning
from lifecycle.models import Environment, Migration, Run
from lifecycle.secrets import resolve
from lifecycle.systems.base import Permanent

log = logging.getLogger(__name__)
S = Migration.State
_NOT_THERE = ("42883", "3F000")  # no such function, no such schema: the platform takes no part in moves


def sweep() -> int:
    """Does all of it; returns how many moves it touched."""
    return follow() + retry_undoing() + discard_due() + wake_erasures() + prune_due()


def follow() -> int:
    """Moves that the watchdog took back while no step looked (paused ones), and decisions whose run wasn't told."""
    touched = 0
    for migration in Migration.objects.exclude(state__in=[S.COMPLETED, S.ROLLED_BACK]).exclude(run=None):
        if turning.follow(migration):
            turning.tell_run(migration)
            touched += 1
    return touched


def retry_undoing() -> int:
    """Ways back whose undoing failed (a region was down, a hold was in force) are tried again."""
    stuck = Run.objects.filter(workflow="migration", state=Run.State.FAILED, cancel_requested=True)
    for run in stuck:
        try:
            runs.retry(run, actor=SYSTEM)
        except Refused as refused:
            log.info("run %s is not tried again: %s", run.pk, refused)
    return len(stuck)


def discard_due() -> int:
    """Kept green whose date has passed."""
    gone = 0
    kept = Migration.objects.filter(
        state=S.ROLLED_BACK, target__role=Environment.Role.KEPT_GREEN, target__gone_at=None
    )
    for migration in kept:
        until = migration.report.get("kept_until")
        due = until and datetime.fromisoformat(until) <= timezone.now()
        if due and not actions.check_discard(migration, actor=SYSTEM):
            actions.discard(migration, actor=SYSTEM)
            gone += 1
    return gone


def wake_erasures() -> int:
    """Erasures that waited for a move of their tenant which has ended."""
    woken = 0
    waiting = Run.objects.filter(workflow="erasure", state=Run.State.BLOCKED)
    for run in waiting:
        request = ErasureRequest.objects.filter(pk=run.subject).first()
        waited = request is not None and run.reason.startswith(gates.MOVING)
        if request is not None and waited and gates.moving(run.tenant_id) is None:
            erasing.wake(request)
            woken += 1
    return woken


def prune_due(now: datetime | None = None) -> int:
    """In the first minute of an hour outbox rows that nobody needs go, in every region's database (`lifecycle.prune`).

    Returns how many went.
    """
    if (now or timezone.now()).minute:
        return 0
    return sum(_prune(reference) for reference in sorted(_databases()))


def _databases() -> set[str]:
    """References to the databases of all environments that stand, each once."""
    places = Environment.objects.filter(gone_at=None).values_list("places__postgresql", flat=True).distinct()
    found = {(rows or {}).get("mover_dsn") or "" for rows in places}
    return found - {""}


def _prune(reference: str) -> int:
    try:
        with closing(psycopg2.connect(resolve(reference), connect_timeout=3)) as line:
            line.autocommit = True
            with line.cursor() as cursor:
                cursor.execute("SET statement_timeout = '20s'; SELECT lifecycle.prune()")
                return int((cursor.fetchone() or (0,))[0])
    except (psycopg2.Error, Permanent) as error:
        if getattr(error, "pgcode", None) not in _NOT_THERE:
            log.warning(
                "A region's outbox was not pruned (%s); it is tried again in an hour.", type(error).__name__
            )
        return 0
