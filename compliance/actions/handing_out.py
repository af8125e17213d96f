"""Handing out the proof: compliance and legal do, auditors read; each time is audited."""

from __future__ import annotations

from compliance import audit
from compliance.access import lacks
from compliance.actors import AUDITOR, COMPLIANCE, LEGAL, Actor
from compliance.errors import refuse_if
from compliance.models import Certificate


def check_hand_out(*, actor: Actor) -> list[str]:
    """Why the actor may not take a certificate's files; empty where they may."""
    return lacks(actor, COMPLIANCE, LEGAL, AUDITOR)


def hand_out(certificate: Certificate, *, actor: Actor, file_name: str) -> None:
    """Notes that the actor takes one file. Raises Refused."""
    refuse_if(check_hand_out(actor=actor))
    request = certificate.request
    audit.record_now(
        "certificate.handed_out", actor=actor, tenant_id=request.tenant_id, case_id=request.pk,
        data={"certificate": certificate.pk, "file": file_name},
    )  # fmt: skip
