"""Recipients: processors and stores without an adapter, settled by a named person before certification (Art. 19)."""

from __future__ import annotations

from hashlib import sha256

from django.db import transaction
from django.utils import timezone

from compliance import audit
from compliance.access import lacks
from compliance.actors import COMPLIANCE, LEGAL, Actor
from compliance.errors import refuse_if
from compliance.models import Decision, Recipient

State = Recipient.State
_PROVEN = (State.ERASED, State.ATTESTED)


def check_settle(recipient: Recipient, *, actor: Actor, state: str, evidence: str | bytes = "") -> list[str]:
    """Why the actor can't settle it so; empty where they can."""
    reasons = lacks(actor, COMPLIANCE, LEGAL)
    if actor.user_id is None:
        reasons.append("A recipient is settled by a named person.")
    if state not in State.values or state == State.PENDING:
        reasons.append(
            f"A recipient is settled as one of {', '.join(value for value in State.values if value != State.PENDING)}."
        )
    if state in _PROVEN and not evidence:
        reasons.append("Give the evidence: the recipient's answer, or a document.")
    return reasons


def settle(recipient: Recipient, *, actor: Actor, state: str, evidence: str | bytes) -> Recipient:
    """Records that a recipient erased, was notified, or attests. Of the evidence only the SHA-256 is kept. Raises Refused."""
    raw = evidence.encode() if isinstance(evidence, str) else evidence
    with transaction.atomic():
        row = Recipient.objects.select_for_update(of=("self",)).select_related("request").get(pk=recipient.pk)
        refuse_if(check_settle(row, actor=actor, state=state, evidence=evidence))
        row.state, row.settled_by_id, row.settled_at = state, actor.user_id, timezone.now()
        row.settled_role = Decision.Role.COMPLIANCE if actor.has(COMPLIANCE) else Decision.Role.LEGAL
        row.evidence_hash = sha256(raw).hexdigest() if raw else ""
        row.save(update_fields=["state", "settled_by", "settled_at", "settled_role", "evidence_hash"])
        request = row.request
        data = {"recipient": row.pk, "state": state, "evidence": row.evidence_hash}
        audit.record(
            "recipient.settled", actor=actor, tenant_id=request.tenant_id, case_id=request.pk, data=data
        )
    recipient.refresh_from_db()
    return recipient
