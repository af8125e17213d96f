"""Looking at what is sealed in a request: allowed to those who decide on it, and every look is audited."""

from __future__ import annotations

from typing import Any

from compliance import audit, cases
from compliance.access import lacks
from compliance.actors import COMPLIANCE, LEGAL, Actor
from compliance.errors import refuse_if
from compliance.models import ErasureRequest


def check_read_subject(request: ErasureRequest, *, actor: Actor) -> list[str]:
    """Why the actor may not see who the request is about; empty where they may."""
    reasons = lacks(actor, COMPLIANCE, LEGAL)
    if request.closed_at is not None or request.sealed is None:
        reasons.append(f"Request {request.pk} is closed; who it was about can't be read by anyone any more.")
    return reasons


def read_subject(request: ErasureRequest, *, actor: Actor) -> dict[str, Any]:
    """{user, requested_by, reason, identifiers, decisions: [{kind, reason}]} in clear. Raises Refused."""
    refuse_if(check_read_subject(request, actor=actor))
    content = cases.read(request)
    decided = [
        {"kind": each.get_kind_display(), "reason": cases.read_reason(each)}
        for each in request.decisions.exclude(sealed_reason=None)
    ]
    audit.record_now("request.read", actor=actor, tenant_id=request.tenant_id, case_id=request.pk)
    return {**content, "decisions": decided}
