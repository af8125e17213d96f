"""Whose a value, a member or an entry is, as the data map says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lifecycle.systems.base import Scope
from lifecycle.systems.redis.connection import text
from lifecycle.systems.redis.families import Family, fill, regex

TENANT_FIELDS = ("tenant_id", "tenant")


def document(value: bytes) -> Any:
    """The JSON in `value`, or None."""
    if value[:1] not in b"{[":
        return None
    try:
        return json.loads(value)
    except ValueError:
        return None


def at(value: Any, path: str) -> str | None:
    """The scalar at a dotted path of a JSON object, as text."""
    if isinstance(value, dict) and path in value:
        value = value[path]
    else:
        for name in path.split("."):
            if not isinstance(value, dict) or name not in value:
                return None
            value = value[name]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)


class Judge:
    """Decides for one scope. `names` are the user and the case's canaries; empty for a whole tenant."""

    def __init__(self, scope: Scope) -> None:
        subject = scope.subject
        self.tenant = subject.tenant
        self.user = subject.user
        self.canaries = scope.canaries
        self.spared = scope.spared_users
        self.names: tuple[str, ...] = (subject.user, *scope.canaries) if subject.user else ()

    def key(self, family: Family, name: str) -> bool:
        """Whether a whole key belongs to the subject by its name."""
        if family.shared_by_tenants:
            return False
        if self.user is None:
            found = regex(family.key.template, self.tenant).fullmatch(name)
            return found is not None and found.groupdict().get("user") not in self.spared
        if "{user}" not in family.key.template:
            return False
        return any(regex(family.key.template, self.tenant, each).fullmatch(name) for each in self.names)

    def value(self, family: Family, value: bytes) -> bool:
        """Whether a string belongs to the subject by its value."""
        if self._canary(value):
            return True
        user = at(document(value), family.key.user_in or "")
        return self._owner(user)

    def member(self, family: Family, member: bytes, value: bytes = b"") -> bool:
        """Whether a member (set, sorted set, list) or a field with its value (hash) belongs to the subject."""
        key = family.key
        template = key.member or key.field
        if template and "{" in template:
            if family.shared_by_tenants:
                return self._global(template, text(member)) or self._canary(member + value)
            name = text(member)
            if self.user is not None and name in (fill(template, self.tenant, each) for each in self.names):
                return True
            if self.user is None:
                found = regex(template, self.tenant).fullmatch(name)
                return found is not None and found.groupdict().get("user") not in self.spared
        if key.user_in:
            found_in = document(value or member)
            if family.shared_by_tenants and not self._tenant_in(found_in):
                return False
            if self._owner(at(found_in, key.user_in)):
                return True
        return self._canary(member + value)

    def entry(self, family: Family, fields: Mapping[bytes, bytes]) -> bool:
        """Whether a stream's entry belongs to the subject."""
        named = {text(name): text(value) for name, value in fields.items()}
        if any(canary in value for canary in self.canaries for value in named.values()):
            return True
        inner = [document(value) for value in fields.values()]
        if family.shared_by_tenants:
            tenants = [named[name] for name in TENANT_FIELDS if name in named]
            if self.tenant not in tenants and not any(self._tenant_in(each) for each in inner):
                return False
        path = family.key.field or family.key.user_in or "user_id"
        users = [named.get(path), *(at(each, path) for each in inner)]
        known = [user for user in users if user is not None]
        if self.user is None:
            return not any(user in self.spared for user in known)
        return self.user in known

    def _owner(self, user: str | None) -> bool:
        if self.user is None:
            return user not in self.spared
        return user == self.user

    def _tenant_in(self, value: Any) -> bool:
        return any(at(value, name) == self.tenant for name in TENANT_FIELDS)

    def _global(self, template: str, name: str) -> bool:
        """A member of a container that all tenants share must name the tenant itself."""
        if "{tenant}" not in template:
            return False
        if self.user is not None:
            return name in (fill(template, self.tenant, each) for each in self.names)
        found = regex(template, self.tenant).fullmatch(name)
        return found is not None and found.groupdict().get("user") not in self.spared

    def _canary(self, raw: bytes) -> bool:
        return any(canary.encode() in raw for canary in self.canaries)
