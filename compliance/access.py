"""Roles as Django groups, and what each may see and change in the admin."""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission

from compliance.actors import AUDITOR, COMPLIANCE, ENGINEER, LEGAL, Actor
from compliance.errors import Refused

ROLES = (COMPLIANCE, LEGAL, ENGINEER, AUDITOR)
_APPS = ("compliance", "lifecycle")
# What is changed through actions needs the permission too, so that the admin shows the button.
_CHANGES: dict[str, tuple[str, ...]] = {
    COMPLIANCE: (
        "add_erasurerequest", "change_erasurerequest", "add_decision", "change_recipient", "change_mention",
        "add_apitoken", "change_apitoken", "add_retentionrule", "change_retentionrule",
    ),
    LEGAL: (
        "add_erasurerequest", "change_erasurerequest", "add_decision", "add_legalhold", "change_legalhold",
        "add_retentionrule", "change_retentionrule", "change_recipient", "change_mention",
    ),
    ENGINEER: (
        "change_run", "change_step", "add_tenant", "change_tenant", "add_environment", "change_environment",
        "add_contact", "change_contact", "add_datamapversion",
    ),
    AUDITOR: (),
}  # fmt: skip


def ensure_groups() -> None:
    """Creates the groups of ROLES with their permissions; idempotent. Run after `migrate`."""
    known = Permission.objects.filter(content_type__app_label__in=_APPS).values_list("pk", "codename")
    wanted = {
        role: {pk for pk, codename in known if codename.startswith("view_") or codename in _CHANGES[role]}
        for role in ROLES
    }
    Group.objects.bulk_create([Group(name=role) for role in ROLES], ignore_conflicts=True)
    groups = dict(Group.objects.filter(name__in=ROLES).values_list("name", "pk"))
    given = Group.permissions.through.objects
    for role, permissions in wanted.items():
        given.filter(group_id=groups[role]).exclude(permission_id__in=permissions).delete()
    given.bulk_create(
        [
            Group.permissions.through(group_id=groups[role], permission_id=each)
            for role, permissions in wanted.items()
            for each in permissions
        ],
        ignore_conflicts=True,
    )


def lacks(actor: Actor, *roles: str) -> list[str]:
    """A reason where the actor has none of `roles`, else nothing."""
    if actor.has(*roles):
        return []
    return [f"{actor.name} has none of the roles that may do this: {', '.join(roles)}."]


def require(actor: Actor, *roles: str) -> None:
    """Raises Refused unless the actor has one of `roles`."""
    reasons = lacks(actor, *roles)
    if reasons:
        raise Refused(reasons)
