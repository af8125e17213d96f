"""What people decide on a request: approve, reject, extend, cancel, erase around a hold, delay by contract.

Approval: one compliance officer for a user; compliance and legal, two people, for a tenant; never the requester, and
never who filed it. Each decision is bound to the digest that was shown. The database refuses the rest (guards).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeAlias

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from compliance import audit, cases, deadlines, pseudonyms, signals, statements
from compliance.access import lacks
from compliance.actions import notices, planning, states
from compliance.actors import COMPLIANCE, LEGAL, SYSTEM_ROLE, Actor
from compliance.errors import Refused, refuse_if
from compliance.judgement import judge
from compliance.models import Decision, ErasureRequest

S = ErasureRequest.State
Kind: TypeAlias = Decision.Kind
Role: TypeAlias = Decision.Role
_ROLE_OF = {Role.COMPLIANCE: COMPLIANCE, Role.LEGAL: LEGAL}


def needed_roles(request: ErasureRequest) -> list[Role]:
    """The roles whose approval a request needs."""
    return (
        [Role.COMPLIANCE, Role.LEGAL] if request.subject_kind == request.Subject.TENANT else [Role.COMPLIANCE]
    )


def missing_roles(request: ErasureRequest) -> list[Role]:
    """The roles whose approval of the current digest is still missing."""
    given = request.decisions.filter(kind=Kind.APPROVE, voided_at=None, digest=request.digest)
    have = set(given.values_list("role", flat=True))
    return [role for role in needed_roles(request) if role not in have]


def standing_problems(request: ErasureRequest) -> list[str]:
    """Why the request may not be under way now: approvals of the current digest that are missing; empty where it may."""
    return [
        f"An approval of the current plan by {_ROLE_OF[role]} is missing." for role in missing_roles(request)
    ]


def decider_pseudonym(user: User) -> str:
    """What a decision keeps of its decider, to be compared with the requester's pseudonym."""
    return pseudonyms.of_mail(user.email) if user.email else pseudonyms.of("staff", str(user.pk))


def role_for(request: ErasureRequest, actor: Actor) -> Role | None:
    """In which role the actor would approve: the first missing one that they have."""
    return next((role for role in missing_roles(request) if actor.has(_ROLE_OF[role])), None)


def check_approve(
    request: ErasureRequest, *, actor: Actor, digest: str, password_checked: bool = False
) -> list[str]:
    """Why the actor can't approve; empty where they can. `digest` is the one that they were shown."""
    if request.state != S.AWAITING_APPROVAL:
        return [
            f"Request {request.pk} is {statements.shown_state(request, actor)}; only one that awaits approval is approved."
        ]
    reasons = lacks(actor, *(_ROLE_OF[role] for role in needed_roles(request)))
    if not digest or digest != request.digest:
        reasons.append(
            "The plan changed since it was shown, so this approval would be for something else. Look at it again."
        )
    if actor.via == "admin" and not password_checked:
        reasons.append("An approval in the browser asks for the password again.")
    reasons += _too_close(request, actor)
    if (
        actor.user_id is not None
        and request.decisions.filter(kind=Kind.APPROVE, voided_at=None, user_id=actor.user_id).exists()
    ):
        reasons.append(f"{actor.name} has approved this already; the other approval is for somebody else.")
    elif not reasons and role_for(request, actor) is None:
        reasons.append(
            f"What is missing is an approval by {' and '.join(_ROLE_OF[role] for role in missing_roles(request))}."
        )
    if holding := judge(request, categories=(), at=timezone.now()).holds:
        reasons.append(f"{statements.of_holds(holding, actor)} It can be approved when that has ended.")
    return reasons


def approve(
    request: ErasureRequest, *, actor: Actor, digest: str, password_checked: bool = False
) -> ErasureRequest:
    """Records the approval; with the last one needed the request is `scheduled`. Raises Refused."""
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_approve(row, actor=actor, digest=digest, password_checked=password_checked))
        role = role_for(row, actor)
        assert role is not None  # noqa: S101  (checked above)
        _decide(row, Kind.APPROVE, role, actor)
        complete = not missing_roles(row)
        if complete and row.plan.get("retained"):
            notices.add(row, "retainedpart")
        audit.record(
            "request.approved",
            actor=actor,
            tenant_id=row.tenant_id,
            case_id=row.pk,
            data={"as": role, "digest": digest},
        )
        if complete:
            states.transition(
                row,
                S.SCHEDULED,
                actor=actor,
                why="Approved; it starts by itself.",
                scheduled_at=timezone.now(),
            )
            signals.announce(signals.request_scheduled, request_id=row.pk)
    return states.mirror(request)


def check_reject(request: ErasureRequest, *, actor: Actor, reason: str) -> list[str]:
    """Why the actor can't reject; empty where they can."""
    return [
        *states.check_transition(request, S.REJECTED),
        *lacks(actor, COMPLIANCE, LEGAL),
        *_reason_given(reason),
    ]


def reject(request: ErasureRequest, *, actor: Actor, reason: str) -> ErasureRequest:
    """Refuses the request; the requester is told why, and of their remedies (Art. 12(4)). Raises Refused."""
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_reject(row, actor=actor, reason=reason))
        decision = _decide(row, Kind.REJECT, _as(actor), actor, reason)
        notices.add(row, "rejected")
        _end(row, S.REJECTED, actor, {"reason_hash": decision.reason_hash})
    return states.mirror(request)


def check_extend(request: ErasureRequest, *, actor: Actor, reason: str) -> list[str]:
    """Why the clock can't be extended; empty where it can."""
    reasons = [*lacks(actor, COMPLIANCE, LEGAL), *_reason_given(reason)]
    if request.state not in states.OPEN:
        reasons.append(
            f"Request {request.pk} is {statements.shown_state(request, actor)}; its clock does not run."
        )
    if request.extended_at is not None:
        reasons.append("The request was extended already; there is one extension.")
    until = deadlines.extension_allowed_until(request.regime, request.received_at)
    if until is None:
        reasons.append(f"{request.get_regime_display()} knows no extension.")
    elif timezone.now() >= until:
        reasons.append("The first period is over; the notice of an extension had to be sent inside it.")
    return reasons


def extend(request: ErasureRequest, *, actor: Actor, reason: str) -> ErasureRequest:
    """Extends the deadline once, and tells the requester why (Art. 12(3)). Raises Refused."""
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_extend(row, actor=actor, reason=reason))
        decision = _decide(row, Kind.EXTEND, _as(actor), actor, reason)
        row.extended_at, row.deadline = timezone.now(), deadlines.extended(row.regime, row.received_at)
        row.save(update_fields=["extended_at", "deadline"])
        notices.add(row, "extended")
        notices.schedule(row)
        data = {"deadline": audit.stamp(row.deadline), "reason_hash": decision.reason_hash}
        audit.record("request.extended", actor=actor, tenant_id=row.tenant_id, case_id=row.pk, data=data)
    return states.mirror(request)


def check_cancel(request: ErasureRequest, *, actor: Actor) -> list[str]:
    """Why the request can't be cancelled; empty where it can."""
    reasons = states.check_transition(request, S.CANCELLED)
    if actor.user_id is None or actor.user_id != request.filed_by_id:
        reasons += lacks(actor, COMPLIANCE, LEGAL, SYSTEM_ROLE)
    return reasons


def cancel(request: ErasureRequest, *, actor: Actor, reason: str = "") -> ErasureRequest:
    """Ends the request; what was erased already stays erased. Raises Refused."""
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_cancel(row, actor=actor))
        reason_hash = cases.seal_reason(row, reason)[1]
        if actor.user_id is not None:
            _decide(row, Kind.CANCEL, _as(actor), actor, reason)
        notices.add(row, "cancelled")
        _end(row, S.CANCELLED, actor, {"reason_hash": reason_hash})
        signals.announce(signals.request_cancelled, request_id=row.pk)
    return states.mirror(request)


def check_choose_around_hold(request: ErasureRequest, *, actor: Actor, reason: str) -> list[str]:
    """Why legal can't choose to erase around held users; empty where it can."""
    if denied := lacks(actor, LEGAL):  # what follows would tell others whether somebody is held
        return denied
    reasons = _reason_given(reason)
    if request.subject_kind != request.Subject.TENANT:
        return [*reasons, "Only a whole tenant's erasure can go around a held user."]
    if request.state not in (S.BLOCKED_BY_HOLD, S.AWAITING_APPROVAL):
        return [
            *reasons,
            f"Request {request.pk} is {statements.shown_state(request, actor)}, not stopped by a hold.",
        ]
    judged = judge(request, categories=(), at=timezone.now())
    if not judged.held_users:
        reasons.append("No user of the tenant is under a hold.")
    if any(not hold.subject_pseudonym for hold in judged.holds):
        reasons.append("A hold covers the whole tenant; there is no way around it.")
    return reasons


def choose_around_hold(request: ErasureRequest, *, actor: Actor, reason: str) -> ErasureRequest:
    """Legal's choice: the held users stay untouched, the rest is erased. Voids approvals, which are asked for anew."""
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_choose_around_hold(row, actor=actor, reason=reason))
        held = sorted(judge(row, categories=(), at=timezone.now()).held_users)
        row.around_hold, row.plan = True, {**row.plan, "held_users": held}
        _replan(row, Kind.AROUND_HOLD, actor, reason, {"held_users": len(held)})
    return states.mirror(request)


def check_delay(request: ErasureRequest, *, actor: Actor, until: datetime, reason: str) -> list[str]:
    """Why legal can't delay the request by a contract; empty where it can."""
    reasons = [*lacks(actor, LEGAL), *_reason_given(reason)]
    if request.state not in (S.AWAITING_APPROVAL, S.SCHEDULED):
        reasons.append(
            f"Request {request.pk} is {statements.shown_state(request, actor)}; only one that has not begun is delayed."
        )
    if until <= timezone.now():
        reasons.append("The day until which it is delayed lies in the past.")
    return reasons


def delay(request: ErasureRequest, *, actor: Actor, until: datetime, reason: str) -> ErasureRequest:
    """Legal's recorded decision that a contract delays the erasure `until` a moment. Approvals are asked for anew."""
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_delay(row, actor=actor, until=until, reason=reason))
        row.plan = {**row.plan, "delayed_until": audit.stamp(until)}
        notices.again(row, "delayed", detail={"until": until.strftime("%d %B %Y")})
        _replan(row, Kind.DELAY, actor, reason, {"until": audit.stamp(until)})
    return states.mirror(request)


def _replan(row: ErasureRequest, kind: Kind, actor: Actor, reason: str, data: dict[str, Any]) -> None:
    row.save(update_fields=["around_hold", "plan"])
    row.refresh_from_db()  # the database computes the digest
    decision = _decide(row, kind, Role.LEGAL, actor, reason)
    voided = planning.void_approvals(row)
    facts = {**data, "digest": row.digest, "voided": voided, "reason_hash": decision.reason_hash}
    verb = f"request.{kind}"
    if row.state == S.AWAITING_APPROVAL:
        audit.record(verb, actor=actor, tenant_id=row.tenant_id, case_id=row.pk, data=facts)
    else:
        states.transition(
            row,
            S.AWAITING_APPROVAL,
            actor=actor,
            verb=verb,
            why="It waits for approval of the changed plan.",
            data=facts,
        )


def _decide(row: ErasureRequest, kind: Kind, role: Role, actor: Actor, reason: str = "") -> Decision:
    user = User.objects.get(pk=_person(actor))
    sealed, reason_hash = cases.seal_reason(row, reason)
    return Decision.objects.create(
        request=row, kind=kind, role=role, user=user, decider_pseudonym=decider_pseudonym(user), digest=row.digest,
        sealed_reason=sealed, reason_hash=reason_hash,
    )  # fmt: skip


def _person(actor: Actor) -> int:
    if actor.user_id is None:
        raise Refused("A decision needs a named person.")
    return actor.user_id


def _end(row: ErasureRequest, to: S, actor: Actor, data: dict[str, Any]) -> None:
    # The key stays until the notice went out; housekeeping closes the case after that.
    watch_until = timezone.now() + timedelta(seconds=min(settings.WATCH_SECONDS, 86_400))
    states.transition(row, to, actor=actor, data=data, watch_until=watch_until)


def _as(actor: Actor) -> Role:
    return Role.LEGAL if actor.has(LEGAL) and not actor.has(COMPLIANCE) else Role.COMPLIANCE


def _reason_given(reason: str) -> list[str]:
    return [] if reason.strip() else ["Give a reason; the requester is told."]


def _too_close(request: ErasureRequest, actor: Actor) -> list[str]:
    if actor.user_id is None:
        return ["An approval needs a person."]
    if actor.user_id == request.filed_by_id:
        return [f"{actor.name} filed this request; somebody else must approve it."]
    user = User.objects.filter(pk=actor.user_id, is_active=True).first()
    if user is None:
        return ["The account is not active."]
    if decider_pseudonym(user) == request.requester_pseudonym:
        return [f"{actor.name} made this request; somebody else must approve it."]
    return []
