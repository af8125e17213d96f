"""Whose an object key is, by the data map's prefixes. Exact: `tenant-1/` never covers `tenant-17/`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from lifecycle.datamap.model import Objects
from lifecycle.systems.base import Scope

# What this program itself keeps in a bucket: cleaned logs, which the CloudWatch adapter erases and verifies, and empty
# markers of moves, named by our own ids.
CLEANED_LOGS = "logs-archive/"
OURS = (CLEANED_LOGS, "moves/")
_SLOT = re.compile(r"\{(tenant|user|document|\*)\}")


@dataclass(frozen=True, slots=True)
class Root:
    """One place of a subject: list by `prefix`, keep what `matches`."""

    prefix: str
    pattern: re.Pattern[str]
    category: str
    whole: bool  # everything below the prefix is of this place

    def matches(self, key: str) -> bool:
        """Whether a key lies in this place."""
        return self.pattern.match(key) is not None


class Layout:
    """The templates of the map. A template that ends in `/` covers all below it, any other one exact keys."""

    def __init__(self, objects: Objects) -> None:
        self._tenant_template = objects.tenant_prefix
        self._prefixes = objects.prefixes
        self._user_owned = [
            _compile(p.template, {})
            for p in objects.prefixes
            if "{tenant}" in p.template and "{user}" in p.template
        ]
        self._tenant_owned = [
            _compile(template, {})
            for template in (objects.tenant_prefix, *(p.template for p in objects.prefixes))
            if "{tenant}" in template
        ]
        self._tops = [
            _compile_top(t) for t in (objects.tenant_prefix, *(p.template for p in objects.prefixes))
        ]

    def roots(self, scope: Scope) -> list[Root]:
        """Every place of the subject, those inside another one left out."""
        subject = scope.subject
        if subject.user is None:
            tenant = self.tenant_root(scope)
            beside = [
                _root(p.template, {"tenant": subject.tenant}, p.category)
                for p in self._prefixes
                if "{tenant}" in p.template
            ]
            return [tenant, *(r for r in beside if not r.prefix.startswith(tenant.prefix))]
        values = {"tenant": subject.tenant, "user": subject.user}
        return [_root(p.template, values, p.category) for p in self._prefixes if "{user}" in p.template]

    def tenant_root(self, scope: Scope) -> Root:
        """The place of the subject's whole tenant."""
        return _root(self._tenant_template, {"tenant": scope.subject.tenant}, self._category_of_tenant())

    def categoriser(self, scope: Scope) -> Callable[[str], str]:
        """A function that tells the data category of a key of the subject's tenant."""
        values = {"tenant": scope.subject.tenant}
        known = [(_compile(p.template, values), p.category) for p in self._prefixes]
        fallback = self._category_of_tenant()
        return lambda key: next((category for pattern, category in known if pattern.match(key)), fallback)

    def spares(self, scope: Scope) -> list[Root]:
        """The places of held users, which are nobody's to touch."""
        tenant = scope.subject.tenant
        return [
            _root(p.template, {"tenant": tenant, "user": user}, p.category)
            for user in sorted(scope.spared_users)
            for p in self._prefixes
            if "{user}" in p.template
        ]

    def owner(self, key: str) -> tuple[str, str]:
        """Tenant and user that a key belongs to, "" where the map doesn't say."""
        for pattern in self._user_owned:
            if match := pattern.match(key):
                return match["tenant"], match["user"]
        for pattern in self._tenant_owned:
            if match := pattern.match(key):
                return match["tenant"], ""
        return "", ""

    def beyond_owner(self, key: str) -> str:
        """What a key says after the part that names its own user: that part names nobody else."""
        for pattern in self._user_owned:
            if match := pattern.match(key):
                return key[match.end("user") :]
        return key

    def classifies_top(self, prefix: str) -> bool:
        """Whether a top-level folder ("tenant-1/") or key fits any template of the map."""
        return any(top.fullmatch(prefix) for top in self._tops)

    def _category_of_tenant(self) -> str:
        return self._prefixes[0].category if self._prefixes else "content"


def is_kept(scope: Scope, category: str, dated: str) -> bool:
    """Whether a record of a category stays: held, or retained and not older than the retention reaches back.

    `dated` is when the record was made, as S3 writes it; one without a date is kept with its category.
    """
    if category in scope.held_categories:
        return True
    if category not in scope.retained:
        return False
    since = scope.retained[category]
    return since is None or not dated or datetime.fromisoformat(dated.replace("Z", "+00:00")) >= since


def _root(template: str, values: dict[str, str], category: str) -> Root:
    literal = _literal(template, values)
    whole = template.endswith("/") and not set(_SLOT.findall(template)) - set(values)
    return Root(literal, _compile(template, values), category, whole)


def _literal(template: str, values: dict[str, str]) -> str:
    """What every key of the template begins with: all up to its first slot without a value."""
    parts, at = [], 0
    for slot in _SLOT.finditer(template):
        parts.append(template[at : slot.start()])
        if slot[1] not in values:
            return "".join(parts)
        parts.append(values[slot[1]])
        at = slot.end()
    return "".join([*parts, template[at:]])


def _compile(template: str, values: dict[str, str]) -> re.Pattern[str]:
    """A pattern for whole keys; slots without a value match one path part, `{*}` at the end anything."""
    parts, at, named = [], 0, set()
    for slot in _SLOT.finditer(template):
        parts.append(re.escape(template[at : slot.start()]))
        at, name = slot.end(), slot[1]
        if name in values:
            parts.append(re.escape(values[name]))
        elif name == "*":
            parts.append(".*" if at == len(template) else "[^/]*")
        elif name in named:
            parts.append(f"(?P={name})")
        else:
            named.add(name)
            parts.append(f"(?P<{name}>[^/]+)")
    parts.append(re.escape(template[at:]))
    ending = ".*" if template.endswith("/") else r"\Z"
    return re.compile("".join(parts) + ending, re.DOTALL)


def _compile_top(template: str) -> re.Pattern[str]:
    folder, slash, _ = template.partition("/")
    pieces = [("[^/]+" if i % 2 else re.escape(piece)) for i, piece in enumerate(_SLOT.split(folder))]
    return re.compile("".join(pieces) + slash, re.DOTALL)
