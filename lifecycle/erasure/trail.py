"""Audit events of steps that change nothing else in our own database."""

from __future__ import annotations

from typing import Any

from compliance import audit
from compliance.actors import SYSTEM
from compliance.models import ErasureRequest


def note(request: ErasureRequest, verb: str, **data: Any) -> None:
    """Appends one event about `request` in a transaction of its own."""
    audit.record_now(verb, actor=SYSTEM, tenant_id=request.tenant_id, case_id=request.pk, data=data)
