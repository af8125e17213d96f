"""Key templates of the data map as exact patterns: `session:{tenant}:{user}`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from lifecycle.datamap.model import Key
from lifecycle.systems.base import Permanent

_PLACEHOLDER = re.compile(r"(\{[^{}]*\})")
_GLOB = re.compile(r"([\\*?\[\]^])")
KNOWN = {"{tenant}", "{user}", "{document}", "{*}"}
CONTAINERS = {"set", "zset", "hash", "list", "stream"}


def parts(template: str) -> list[str]:
    """A template's literals and placeholders, in order. Raises Permanent for a placeholder nobody knows."""
    found = [part for part in _PLACEHOLDER.split(template) if part]
    unknown = [part for part in found if part.startswith("{") and part.endswith("}") and part not in KNOWN]
    if unknown:
        raise Permanent(f"The key template {template} has an unknown placeholder {unknown[0]}.")
    return found


def fill(template: str, tenant: str, user: str | None) -> str | None:
    """The one name that the template stands for, or None where it stands for many."""
    values = {"{tenant}": tenant, "{user}": user}
    name = ""
    for part in parts(template):
        if part in KNOWN:
            value = values.get(part)
            if value is None:
                return None
            name += value
        else:
            name += part
    return name


def beginning(template: str, tenant: str) -> str:
    """What every key of the template begins with: its parts up to the first open placeholder."""
    name = ""
    for part in parts(template):
        if part in KNOWN and part != "{tenant}":
            break
        name += tenant if part == "{tenant}" else part
    return name


def glob(template: str, tenant: str, user: str | None) -> str:
    """A MATCH pattern for SCAN: ids in it are escaped. It is only a filter; `regex` decides."""
    values = {"{tenant}": tenant, "{user}": user}
    pieces = []
    for part in parts(template):
        value = values.get(part) if part in KNOWN else part
        pieces.append("*" if value is None else _GLOB.sub(r"\\\1", value))
    return "".join(pieces)


@lru_cache(maxsize=2048)
def regex(template: str, tenant: str | None = None, user: str | None = None) -> re.Pattern[str]:
    """The exact pattern; groups `tenant` and `user` where they are left open.

    An open placeholder stops at the character that follows it in the template; the last one takes the rest.
    """
    values = {"{tenant}": tenant, "{user}": user}
    pieces, split, seen = [], parts(template), set()
    for index, part in enumerate(split):
        if part not in KNOWN:
            pieces.append(re.escape(part))
            continue
        value = values.get(part)
        if value is not None:
            pieces.append(re.escape(value))
            continue
        following = split[index + 1] if index + 1 < len(split) else ""
        stop = "" if not following or following in KNOWN else re.escape(following[0])
        body = ".*" if part == "{*}" else f"[^{stop}]+" if stop else ".+"
        name = part.strip("{}")
        named = name in ("tenant", "user") and name not in seen
        seen.add(name)
        pieces.append(f"(?P<{name}>{body})" if named else f"(?:{body})")
    return re.compile("".join(pieces), re.DOTALL)


@dataclass(frozen=True, slots=True)
class Family:
    """One family of the map, with what its template says about whose a key is."""

    key: Key

    @property
    def shared_by_users(self) -> bool:
        """Whether one key holds several users' data, so that members go and not the key."""
        return "{user}" not in self.key.template and self.key.type in CONTAINERS

    @property
    def shared_by_tenants(self) -> bool:
        return "{tenant}" not in self.key.template

    @property
    def judged_by_value(self) -> bool:
        """Whether only the value says whose a string is (a cache)."""
        return self.key.user_in is not None and self.key.type not in CONTAINERS

    def names_user(self) -> bool:
        """Whether a single user can own anything in this family at all."""
        return (
            "{user}" in self.key.template
            or self.judged_by_value
            or bool(self.key.member or self.key.field or self.key.user_in)
        )
