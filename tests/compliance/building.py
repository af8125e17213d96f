"""Requests and people for tests, made on the real path: through the actions, never around the guards."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from django.contrib.auth.models import Group, User

from compliance import access, pseudonyms
from compliance.actions import deciding, filing, planning
from compliance.actors import SYSTEM, Actor, person
from compliance.models import ErasureRequest
from lifecycle.models import Contact, Tenant

ADMIN = "admin@acme.example"
FOUND = {
    "postgresql": {"found": 12, "kinds": {"documents": 12}},
    "s3": {"found": 3, "kinds": {"object_version": 3}},
}
_GROUPS = {
    "officer": "compliance officer", "officer2": "compliance officer", "legal": "legal", "legal2": "legal",
    "engineer": "engineer", "auditor": "auditor",
}  # fmt: skip


def people() -> dict[str, Actor]:
    """One actor per account: officer, officer2, legal, legal2, engineer, auditor."""
    access.ensure_groups()
    return {name: account(name, group) for name, group in _GROUPS.items()}


def account(name: str, *groups: str) -> Actor:
    """An account in some groups."""
    user, _ = User.objects.get_or_create(username=name, defaults={"email": f"{name}@staff.example"})
    for group in groups:
        user.groups.add(Group.objects.get(name=group))
    return person(user)


def tenant(tenant_id: str = "acme", *, kind: str = "standard", public_key: str = "") -> Tenant:
    """A tenant with one admin, ADMIN."""
    made, _ = Tenant.objects.get_or_create(
        pk=tenant_id, defaults={"name": tenant_id, "kind": kind, "home_region": "us-east-1"}
    )
    Contact.objects.get_or_create(
        tenant=made, role="admin", mail_hmac=pseudonyms.of_mail(ADMIN), defaults={"public_key": public_key}
    )
    return made


def filed(
    user: str | None = "u-1", *, actor: Actor = SYSTEM, tenant_id: str = "acme", **facts: Any
) -> ErasureRequest:
    """A request in state `received`."""
    return filing.file_request(
        actor=actor,
        tenant_id=tenant_id,
        user=user,
        **{"requested_by": ADMIN, "reason": "asked by phone", **facts},
    )


def plan(request: ErasureRequest, *, actor: Actor = SYSTEM, **facts: Any) -> ErasureRequest:
    """The request with a plan."""
    given: dict[str, Any] = {
        "found": FOUND, "identifiers": {"mails": ["ann@acme.example"], "names": ["Ann Doe"]}, "datamap_version": 1,
        "datamap_digest": "d1", "drift": [], "recipients": [], **facts,
    }  # fmt: skip
    return planning.record_plan(request, actor=actor, **given)


def planned(user: str | None = "u-1", *, received_at: datetime | None = None, **facts: Any) -> ErasureRequest:
    """A request that awaits approval (unless a hold or a rule says otherwise)."""
    return plan(filed(user, received_at=received_at), **facts)


def approved(actors: dict[str, Actor], user: str | None = "u-1", **facts: Any) -> ErasureRequest:
    """A request that is scheduled, with the approvals it needs."""
    request = planned(user, **facts)
    for name in ("officer", "legal") if user is None else ("officer",):
        request = deciding.approve(request, actor=actors[name], digest=request.digest)
    return request


def moved(actors: dict[str, Actor], *states: str, user: str | None = "u-1") -> ErasureRequest:
    """An approved request moved through `states` in turn."""
    from compliance.actions import executing

    request = approved(actors, user)
    for state in states:
        request = executing.move(request, state, actor=SYSTEM)
    return request


def a_user() -> str:
    """A user id that no other test has."""
    return f"u-{secrets.token_hex(4)}"
