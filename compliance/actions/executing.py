"""Moves of a request that the executing side makes: on, blocked, resumed, sent back, reopened, closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from compliance import audit, cases, signals, statements
from compliance.actions import deciding, notices, planning, states
from compliance.actors import Actor
from compliance.errors import refuse_if
from compliance.judgement import judge
from compliance.keystore import default as keystore
from compliance.models import ErasureRequest, LegalHold

S = ErasureRequest.State
_CLOSABLE = frozenset({S.COMPLETED, S.REJECTED, S.CANCELLED})


def check_move(request: ErasureRequest, to: str) -> list[str]:
    """Why the request can't go to `to`; empty where it can. `scheduled` is reached by approval alone."""
    reasons = states.check_transition(request, to)
    if to == S.SCHEDULED:
        reasons.append("A request is scheduled by its approvals and in no other way.")
    if to in states.APPROVED:
        reasons += deciding.standing_problems(request)
    if to == S.EXECUTING and request.state == S.SCHEDULED:
        reasons += _not_yet(request)
    return reasons


def move(
    request: ErasureRequest, to: str, *, actor: Actor, reason: str = "", **fields: Any
) -> ErasureRequest:
    """Moves the request and sets `fields` with it. `reason` is a sentence without personal data. Raises Refused."""
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_move(row, to))
        if to in (S.COMPLETED, S.PARTIALLY_COMPLETED):
            now = timezone.now()
            fields.setdefault("completed_at", now)
            fields.setdefault("watch_until", now + timedelta(seconds=settings.WATCH_SECONDS))
        states.transition(row, to, actor=actor, why=reason, **fields)
    return states.mirror(request)


def check_block(request: ErasureRequest) -> list[str]:
    """Why a hold does not stop the request; empty where it does."""
    if request.state not in states.STOPPABLE or request.closed_at is not None:
        return [f"Request {request.pk} is {statements.shown_state(request)}; a hold does not stop it."]
    return []


def block(request: ErasureRequest, holds: Iterable[str | LegalHold], *, actor: Actor) -> ErasureRequest:
    """Stops the request because of `holds` (ids or rows); it remembers where, and the requester is told. Raises Refused."""
    ids = sorted(hold if isinstance(hold, str) else hold.pk for hold in holds)
    with transaction.atomic():
        row = states.locked(request)
        if row.state == S.BLOCKED_BY_HOLD:
            return states.mirror(request)
        refuse_if(check_block(row))
        why = statements.of_holds(LegalHold.objects.filter(pk__in=ids))
        notices.again(row, "held")
        states.transition(
            row, S.BLOCKED_BY_HOLD, actor=actor, why=why, data={"holds": ids}, resume_state=row.state
        )
    return states.mirror(request)


def check_resume(request: ErasureRequest) -> list[str]:
    """Why the request can't go on; empty where no hold stops it any more."""
    if request.state != S.BLOCKED_BY_HOLD:
        return [f"Request {request.pk} is {statements.shown_state(request)}, not blocked by a hold."]
    holds = judge(request, categories=(), at=timezone.now()).holds
    return [statements.of_holds(holds)] if holds else []


def resume(request: ErasureRequest, *, actor: Actor) -> ErasureRequest:
    """The request goes back to where a hold stopped it. Raises Refused."""
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_resume(row))
        to = row.resume_state or S.RECEIVED
        if to in states.APPROVED and deciding.standing_problems(row):
            to = S.AWAITING_APPROVAL
        states.transition(
            row, to, actor=actor, verb="request.resumed", why="No hold stops it any more.", resume_state=""
        )
        if to == S.SCHEDULED:
            signals.announce(signals.request_scheduled, request_id=row.pk)
    return states.mirror(request)


def send_back(request: ErasureRequest, found: Mapping[str, Any], *, actor: Actor) -> ErasureRequest:
    """More than was shown to the approvers: their approvals are void, the new counts are shown. `found`: {system: number}."""
    counts = {name: int(each["found"] if isinstance(each, Mapping) else each) for name, each in found.items()}
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(states.check_transition(row, S.AWAITING_APPROVAL))
        row.preview = {
            **row.preview,
            **{name: {**row.preview.get(name, {}), "found": number} for name, number in counts.items()},
        }
        row.preview_at = timezone.now()
        # Another revision is another digest: a page opened before can't approve this.
        row.plan = {**row.plan, "revision": int(row.plan.get("revision", 1)) + 1}
        row.save(update_fields=["preview", "preview_at", "plan"])
        voided = planning.void_approvals(row)
        states.transition(
            row, S.AWAITING_APPROVAL, actor=actor, verb="request.sent_back", data={"found": counts, "voided": voided},
            why="More was found than the approvers were shown; it waits for approval again.",
        )  # fmt: skip
    return states.mirror(request)


def check_reopen(request: ErasureRequest) -> list[str]:
    """Why the request can't be reopened; empty where it can."""
    if request.state == S.RETAINED and deciding.standing_problems(request):
        return states.check_transition(request, S.AWAITING_APPROVAL)
    return states.check_transition(request, S.REOPENED)


def reopen(request: ErasureRequest, *, actor: Actor, reason: str) -> ErasureRequest:
    """A part came due, or data came back: `reopened`. What was retained as a whole and never approved is previewed and
    approved first: it becomes `awaiting_approval`. `reason` is a sentence without personal data. Raises Refused."""
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_reopen(row))
        approved = row.state != S.RETAINED or not deciding.standing_problems(row)
        to = S.REOPENED if approved else S.AWAITING_APPROVAL
        states.transition(row, to, actor=actor, verb="request.reopened", why=reason)
    return states.mirror(request)


def check_close(request: ErasureRequest) -> list[str]:
    """Why the case can't be closed yet; empty where its key may be destroyed."""
    if request.closed_at is not None:
        return [f"Request {request.pk} is closed already."]
    reasons = []
    if request.state not in _CLOSABLE:
        reasons.append(
            f"Request {request.pk} is {statements.shown_state(request)}; only an ended one is closed."
        )
    if request.watch_until is None or request.watch_until > timezone.now():
        reasons.append("The watch has not ended.")
    judged = judge(request, categories=(), at=timezone.now())
    if holding := [*judged.holds, *judged.category_holds]:
        reasons.append(
            f"{statements.of_holds(holding)} The case's manifest is evidence as long as that lasts."
        )
    if waiting := notices.unsent(request):
        reasons.append(f"{waiting} mails to the requester have not been sent; they need the case key.")
    if waiting := request.certificates.filter(delivered_at=None).count():
        reasons.append(
            f"{waiting} certificates have not been mailed to the requester; they need the case key."
        )
    return reasons


def close(request: ErasureRequest, *, actor: Actor) -> ErasureRequest:
    """Ends the case for good: the case key is destroyed, sealed columns are emptied, keys of ended holds on the same
    subject go too. Raises Refused."""
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_close(row))
        row.decisions.exclude(sealed_reason=None).update(sealed_reason=None)
        row.notices.exclude(sealed_to=None).update(sealed_to=None)
        row.mentions.exclude(sealed=None).update(sealed=None)
        ended = LegalHold.objects.filter(tenant_id=row.tenant_id).exclude(state__in=LegalHold.BLOCKING)
        if row.subject_kind == row.Subject.USER:
            ended = ended.filter(subject_pseudonym=row.subject_pseudonym)
        gone = [cases.key_name(row.pk), *(f"hold/{hold.pk}" for hold in ended)]
        ended.update(sealed=None, sealed_release_reason=None)
        row.sealed, row.closed_at = None, timezone.now()
        row.save(update_fields=["sealed", "closed_at"])
        # Before the commit: should it fail, the next call finds the key destroyed already and ends the same way.
        for name in gone:
            keystore().destroy(name)
        audit.record(
            "request.closed", actor=actor, tenant_id=row.tenant_id, case_id=row.pk, data={"keys": gone}
        )
    return states.mirror(request)


def closable(now: datetime) -> list[ErasureRequest]:
    """Ended requests whose watch is over."""
    return list(ErasureRequest.objects.filter(state__in=_CLOSABLE, closed_at=None, watch_until__lte=now))


def _not_yet(request: ErasureRequest) -> list[str]:
    delayed = judge(request, categories=(), at=timezone.now()).delayed_until
    if delayed is None or delayed <= timezone.now():
        return []
    return [f"A contract delays this erasure until {audit.stamp(delayed)[:10]}."]
