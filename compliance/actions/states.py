"""The states of a request and how one follows another. The database holds the same table (migration guards)."""

from __future__ import annotations

from typing import Any

from compliance import audit, signals, statements
from compliance.actors import Actor
from compliance.errors import Refused
from compliance.models import ErasureRequest

S = ErasureRequest.State

TRANSITIONS: dict[str, frozenset[str]] = {
    S.RECEIVED: frozenset({S.VALIDATED, S.REJECTED, S.CANCELLED, S.BLOCKED_BY_HOLD}),
    S.VALIDATED: frozenset({S.AWAITING_APPROVAL, S.BLOCKED_BY_HOLD, S.RETAINED, S.REJECTED, S.CANCELLED}),
    S.AWAITING_APPROVAL: frozenset({S.SCHEDULED, S.BLOCKED_BY_HOLD, S.RETAINED, S.REJECTED, S.CANCELLED}),
    S.SCHEDULED: frozenset({S.EXECUTING, S.AWAITING_APPROVAL, S.BLOCKED_BY_HOLD, S.CANCELLED, S.FAILED}),
    S.EXECUTING: frozenset({S.VERIFYING, S.AWAITING_APPROVAL, S.BLOCKED_BY_HOLD, S.CANCELLED, S.FAILED}),
    S.VERIFYING: frozenset({S.EXECUTING, S.CERTIFYING, S.BLOCKED_BY_HOLD, S.FAILED}),
    S.CERTIFYING: frozenset(
        {S.COMPLETED, S.PARTIALLY_COMPLETED, S.RETAINED, S.EXECUTING, S.VERIFYING, S.BLOCKED_BY_HOLD, S.FAILED}
    ),
    S.COMPLETED: frozenset({S.REOPENED}),
    S.PARTIALLY_COMPLETED: frozenset({S.REOPENED}),
    S.RETAINED: frozenset({S.AWAITING_APPROVAL, S.BLOCKED_BY_HOLD, S.REOPENED, S.REJECTED, S.CANCELLED}),
    S.REOPENED: frozenset({S.EXECUTING, S.BLOCKED_BY_HOLD, S.FAILED}),
    S.FAILED: frozenset({S.EXECUTING, S.VERIFYING, S.CERTIFYING, S.BLOCKED_BY_HOLD, S.CANCELLED}),
    S.BLOCKED_BY_HOLD: frozenset(
        {S.RECEIVED, S.VALIDATED, S.AWAITING_APPROVAL, S.SCHEDULED, S.EXECUTING, S.VERIFYING, S.CERTIFYING,
         S.REOPENED, S.FAILED, S.RETAINED, S.REJECTED, S.CANCELLED}
    ),
    S.REJECTED: frozenset(),
    S.CANCELLED: frozenset(),
}  # fmt: skip

# Under way: in these, the approvals that the request needs must stand (checked by the database too).
APPROVED = frozenset({S.SCHEDULED, S.EXECUTING, S.VERIFYING, S.CERTIFYING})
# What a hold stops. In `certifying` nothing is left to destroy.
STOPPABLE = frozenset(
    {
        S.RECEIVED,
        S.VALIDATED,
        S.AWAITING_APPROVAL,
        S.SCHEDULED,
        S.EXECUTING,
        S.VERIFYING,
        S.REOPENED,
        S.FAILED,
    }
)
OPEN = frozenset(TRANSITIONS) - {S.COMPLETED, S.PARTIALLY_COMPLETED, S.RETAINED, S.REJECTED, S.CANCELLED}


def locked(request: ErasureRequest) -> ErasureRequest:
    """The row as it is now, locked until the transaction ends."""
    return ErasureRequest.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=request.pk)


def check_transition(request: ErasureRequest, to: str) -> list[str]:
    """Why the request can't go to state `to` from where it is; empty where it can."""
    if request.closed_at is not None:
        return [f"Request {request.pk} is closed; nothing about it changes any more."]
    if to not in S.values:
        return [f"There is no state {to}."]
    if to not in TRANSITIONS[request.state]:
        return [
            f"Request {request.pk} is {statements.shown_state(request)}; it can't become {S(to).label} from there."
        ]
    return []


def transition(
    row: ErasureRequest,
    to: str,
    *,
    actor: Actor,
    verb: str = "",
    why: str = "",
    data: dict[str, Any] | None = None,
    **fields: Any,
) -> None:
    """Moves a locked row, writes `fields` with it and the audit event, and announces it on commit.

    `why` is a sentence without personal data. Call it last in the transaction: the audit head is locked after rows.
    """
    reasons = check_transition(row, to)
    if reasons:
        raise Refused(reasons)
    old = row.state
    row.state, row.state_reason = to, why[:500]
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=["state", "state_reason", *fields])
    audit.record(
        verb or f"request.{to}",
        actor=actor,
        tenant_id=row.tenant_id,
        case_id=row.pk,
        data={"from": old, "to": to, **(data or {})},
    )
    signals.announce(signals.state_changed, request_id=row.pk, old=str(old), new=str(to))


def mirror(request: ErasureRequest) -> ErasureRequest:
    """The caller's own object, read anew."""
    request.refresh_from_db()
    return request
