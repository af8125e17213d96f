"""What of moves is looked after every minute by itself: trips, ways back that got stuck, kept green whose date passed."""

from __future__ import annotations

import logging
from datetime import datetime

from django.utils import timezone

from compliance.actors import SYSTEM
from compliance.errors import Refused
from compliance.models import ErasureRequest
from lifecycle.engine import runs
from lifecycle.erasure import actions as erasing
from lifecycle.erasure import gates
from lifecycle.migration import actions, turning
from lifecycle.models import Environment, Migration, Run

log = logging.getLogger(__name__)
S = Migration.State


def sweep() -> int:
    """Does all of it; returns how many moves it touched."""
    return follow() + retry_undoing() + discard_due() + wake_erasures()


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
