"""What happens every minute by itself: start, resume, remind, watch, reopen, close, sign the day's audit head."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone

from compliance import fence
from compliance.actions import certifying, executing, heads, holds, notices, planning
from compliance.actors import SYSTEM
from compliance.errors import Refused
from compliance.models import ApiRate, AuditHead, ErasureRequest, LegalHold
from lifecycle.erasure import actions, gates, pending, watch
from lifecycle.migration import keeping as moves

log = logging.getLogger(__name__)
STATES = ErasureRequest.State


def sweep() -> dict[str, int]:
    """Runs every duty; one that fails is logged and does not stop the others. Returns how much each did."""
    duties: dict[str, Callable[[], int]] = {
        "started": start_scheduled,
        "expired_holds": expire_holds,
        "resumed": resume_unblocked,
        "came_due": reopen_due,
        "lifted": reopen_lifted,
        "watched": watch_completed,
        "addenda": pending.close_due,
        "closed": close_watched,
        "certificates_stored": lambda: certifying.finish_storing(actor=SYSTEM),
        "certificates_mailed": lambda: certifying.deliver_due(actor=SYSTEM),
        "notices": lambda: notices.send_due(timezone.now(), actor=SYSTEM),
        "heads": sign_head,
        "fence": fence.tidy,
        "rates": ApiRate.forget,
        "moves": moves.sweep,
    }
    done: dict[str, int] = {}
    for name, duty in duties.items():
        try:
            done[name] = duty()
        except (
            Exception
        ) as failure:  # one duty's failure must not stop the others; it is tried again in a minute
            log.error("housekeeping duty %s failed: %s", name, type(failure).__name__)
            done[name] = -1
    return done


def start_scheduled() -> int:
    """Approved requests that no nudge has started yet."""
    waiting = ErasureRequest.objects.filter(state__in=[STATES.SCHEDULED, STATES.REOPENED])
    started = 0
    for request in waiting:
        run = actions.live_run(request)
        if run is None or run.state in ("done", "cancelled", "failed"):
            actions.start(request)
            started += 1
    return started


def expire_holds() -> int:
    """Holds whose date has passed."""
    over = LegalHold.objects.filter(state__in=LegalHold.BLOCKING, until__lte=timezone.now())
    for hold in over:
        holds.expire(hold, actor=SYSTEM)
    return len(over)


def resume_unblocked() -> int:
    """Requests that a hold stopped and no hold stops any more."""
    resumed = 0
    for request in ErasureRequest.objects.filter(state=STATES.BLOCKED_BY_HOLD).select_related("tenant"):
        if not gates.blocking(request):
            actions.resume(request)
            resumed += 1
    return resumed


def reopen_due() -> int:
    """Parts that were retained until a date that has passed."""
    reopened = 0
    kept = ErasureRequest.objects.filter(
        state__in=[STATES.PARTIALLY_COMPLETED, STATES.RETAINED], closed_at=None
    )
    for request in kept:
        if due := planning.came_due(request, timezone.now()):
            actions.reopen(request, actor=SYSTEM, reason=f"The retention of {', '.join(due)} ended.")
            reopened += 1
    return reopened


def reopen_lifted() -> int:
    """Parts that a hold kept in a case that was completed otherwise, once that hold is gone."""
    reopened = 0
    kept = ErasureRequest.objects.filter(
        state__in=[STATES.PARTIALLY_COMPLETED, STATES.COMPLETED], closed_at=None
    )
    for request in kept.exclude(case__evidence__held=None).select_related("tenant", "case"):
        held = request.case.evidence["held"]
        now = gates.judged(request)
        lifted = set(held["categories"]) - now.held_categories or set(held["users"]) - now.held_users
        if lifted and not now.holds:
            actions.reopen(request, actor=SYSTEM, reason="A legal hold that kept a part was lifted.")
            reopened += 1
    return reopened


def watch_completed() -> int:
    """Looks again at finished cases whose look is due."""
    looked = 0
    for request in actions.watch_due():
        if watch.due(request):
            watch.look(request)
            looked += 1
    return looked


def close_watched() -> int:
    """Cases whose watch has ended: the case key goes."""
    closed = 0
    for request in executing.closable(timezone.now()):
        try:
            actions.close(request)
            closed += 1
        except Refused as refusal:
            log.info("request %s stays open: %s", request.pk, " ".join(refusal.reasons))
    return closed


def sign_head() -> int:
    """The signed head of yesterday's audit, once."""
    yesterday = timezone.now().date() - timedelta(days=1)
    if AuditHead.objects.filter(day=yesterday).exclude(stored_key="").exists():
        return 0
    return 1 if heads.sign(yesterday) else 0
