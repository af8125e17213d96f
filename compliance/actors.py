"""Who does something: a person with roles, or the program itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.contrib.auth.models import User

COMPLIANCE = "compliance officer"
LEGAL = "legal"
ENGINEER = "engineer"
AUDITOR = "auditor"
SYSTEM_ROLE = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` is an account's name, `via` the door: cli, admin, api, shell or worker."""

    name: str
    roles: frozenset[str]
    user_id: int | None
    via: str

    def has(self, *roles: str) -> bool:
        """True where the actor has at least one of `roles`."""
        return not self.roles.isdisjoint(roles)


SYSTEM = Actor(name="system", roles=frozenset({SYSTEM_ROLE}), user_id=None, via="worker")


def person(user: User, via: str = "shell") -> Actor:
    """The actor behind a saved account: roles are its groups; an inactive account has none, a superuser no more than its own."""
    roles = user.groups.values_list("name", flat=True) if user.is_active else ()
    return Actor(name=user.get_username(), roles=frozenset(roles), user_id=user.pk, via=via)
