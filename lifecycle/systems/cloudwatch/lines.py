"""Whose a log line is, as the data map says; and what stands for a line in a manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from lifecycle.datamap.model import Logs
from lifecycle.systems.base import Scope
from lifecycle.systems.cloudwatch.service import Line

TENANT_FIELDS = ("tenant_id", "tenant")


def digest(line: Line) -> str:
    """32 hexadecimal characters that stand for a line's time and text."""
    return blake2b(
        f"{line.timestamp} {line.message}".encode("utf-8", "surrogatepass"), digest_size=16
    ).hexdigest()


def line_key(group: str, line: Line) -> str:
    """The key of a line's item. It does not name the stream: rewriting moves lines between streams."""
    return json.dumps([group, line.timestamp, digest(line)])


@dataclass(frozen=True, slots=True)
class Group:
    """A log group, and the tenant whose it is (None: shared by all)."""

    name: str
    tenant: str | None


def groups_of(logs: Logs, tenant: str) -> list[Group]:
    """The groups in which the tenant's lines are: its own, exactly named, and the shared ones."""
    own = [
        Group(template.replace("{tenant}", tenant), tenant)
        for template in logs.groups
        if "{tenant}" in template
    ]
    shared = [*(t for t in logs.groups if "{tenant}" not in t), *logs.shared_groups]
    return own + [Group(name, None) for name in shared]


class LineJudge:
    """Decides for one scope whether a line is the subject's own."""

    def __init__(self, scope: Scope, logs: Logs) -> None:
        self._scope = scope
        self._fields = logs.user_fields
        self._mails = {mail.casefold() for mail in scope.subject.mails}
        self._mail_fields = logs.personal_fields
        user = scope.subject.user
        words = [
            *([user, json.dumps(user)[1:-1]] if user else []),
            *scope.subject.mails,
            *scope.canaries,
            "\\u",
        ]
        self._hint = re.compile("|".join(map(re.escape, words)), re.IGNORECASE) if user else None
        self._written = {name: _written(name) for name in (*self._fields, *self._mail_fields, *TENANT_FIELDS)}

    def owns(self, line: Line, group: Group) -> bool:
        """Whether the line is the subject's. A line that only mentions the subject is not."""
        message = line.message
        if self._hint is not None and not self._hint.search(message):
            return False
        if any(canary in message for canary in self._scope.canaries):
            return True
        scope = self._scope
        if scope.subject.user is None and group.tenant is not None and not scope.spared_users:
            return True
        document = _document(message)
        tenants = self._values(document, message, TENANT_FIELDS)
        if scope.subject.tenant not in (tenants or {group.tenant or ""}):
            return False
        users = self._values(document, message, self._fields)
        if scope.subject.user is None:
            return not users & scope.spared_users
        if users:
            return scope.subject.user in users
        named = {value.casefold() for value in self._values(document, message, self._mail_fields)}
        return bool(named & self._mails)

    def _values(self, document: Any, message: str, names: Iterable[str]) -> set[str]:
        if document is not None:
            return {value for name in names for value in _at(document, name)}
        return {found for name in names for found in self._written[name](message)}


def _document(message: str) -> Any:
    """The JSON object in a line, which may follow a time, a request id or a level."""
    start = message.find("{")
    if start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(message, start)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _at(document: Any, path: str) -> Iterator[str]:
    if isinstance(document, dict) and path in document:
        value = document[path]
    else:
        value = document
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)


def _written(name: str) -> Any:
    """Finds `name=value` and `name="a value"` in a line that is no JSON."""
    pattern = re.compile(rf'(?<![\w.]){re.escape(name)}\s*[=:]\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;|)\]}}]+))')
    return lambda message: [quoted or bare for quoted, bare in pattern.findall(message)]
