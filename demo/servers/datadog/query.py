"""Datadog's search syntax for logs and RUM, compiled to a predicate, and its metric scopes.

Source: Datadog's page "Log Search Syntax". Terms are joined by AND unless OR stands between them; `-` and NOT
negate; `tag:value` looks at tags and reserved attributes, `@path:value` at attributes, anything else at the
message. `*` is a wildcard outside quotes, so `tenant:1*` also matches 17; quotes or a backslash make it literal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

RESERVED = ("service", "host", "source", "status")


@dataclass(slots=True)
class Event:
    """One log line or RUM event. Times in milliseconds since the epoch."""

    id: str
    product: str
    arrived_ms: int
    timestamp_ms: int
    message: str
    tags: list[str]
    attributes: dict[str, Any]
    reserved: dict[str, str] = field(default_factory=dict)


Predicate = Callable[[Event], bool]


class QueryError(ValueError):
    """The query can't be understood."""


_TOKEN = re.compile(r"""\s*(?P<token>\(|\)|-(?=\S)|(?:[^\s()"\\]|\\.|"(?:[^"\\]|\\.)*")+)""", re.DOTALL)


def compile_query(text: str) -> Predicate:
    """Compile a search query; an empty one and `*` match everything. Raises QueryError."""
    tokens = list(_tokens(text))
    if not tokens:
        return lambda event: True
    parser = _Parser(tokens)
    result = parser.alternatives()
    if parser.position != len(tokens):
        raise QueryError("The query has a closing parenthesis too many.")
    return result


def _tokens(text: str) -> Iterator[str]:
    position = 0
    text = text.strip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise QueryError("The query has an unclosed quote or a lone backslash.")
        yield found["token"]
        position = found.end()
        while position < len(text) and text[position].isspace():
            position += 1


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self.position = 0

    def _peek(self) -> str | None:
        return self._tokens[self.position] if self.position < len(self._tokens) else None

    def _take(self) -> str:
        token = self._peek()
        if token is None:
            raise QueryError("The query ends too early.")
        self.position += 1
        return token

    def alternatives(self) -> Predicate:
        parts = [self._conjunction()]
        while self._peek() == "OR":
            self._take()
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else lambda event: any(part(event) for part in parts)

    def _conjunction(self) -> Predicate:
        parts = [self._single()]
        while self._peek() not in (None, ")", "OR"):
            if self._peek() == "AND":
                self._take()
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else lambda event: all(part(event) for part in parts)

    def _single(self) -> Predicate:
        token = self._take()
        if token in ("-", "NOT"):
            inner = self._single()
            return lambda event: not inner(event)
        if token == "(":  # noqa: S105 - a parenthesis
            inner = self.alternatives()
            if self._take() != ")":
                raise QueryError("The query has an unclosed parenthesis.")
            return inner
        if token in (")", "OR", "AND"):
            raise QueryError("The query has an operator without an operand.")
        return _term(token)


def split_term(token: str) -> tuple[str | None, str]:
    """The field of a term (None for free text) and its still escaped value."""
    found = re.match(r'(?P<field>@?[^\s:"\\*]+):(?P<value>.*)', token, re.DOTALL)
    if found is None or not found["value"]:
        return None, token
    return found["field"], found["value"]


def pattern(value: str) -> re.Pattern[str]:
    """A value as a regular expression: `*` and `?` are wildcards unless quoted or escaped."""
    parts: list[str] = []
    quoted = False
    position = 0
    while position < len(value):
        char = value[position]
        if char == "\\" and position + 1 < len(value):
            position += 1
            parts.append(re.escape(value[position]))
        elif char == '"':
            quoted = not quoted
        elif char in "*?" and not quoted:
            parts.append(".*" if char == "*" else ".")
        else:
            parts.append(re.escape(char))
        position += 1
    return re.compile("".join(parts), re.DOTALL)


def _term(token: str) -> Predicate:
    name, value = split_term(token)
    wanted = pattern(value)
    if name is None:
        if token == "*":  # noqa: S105 - a search term
            return lambda event: True
        words = re.compile(rf"(?<!\w){wanted.pattern}(?!\w)", re.IGNORECASE | re.DOTALL)
        return lambda event: words.search(event.message) is not None
    if name.startswith("@"):
        path = name[1:].split(".")
        return lambda event: any(wanted.fullmatch(found) for found in _at(event.attributes, path))
    prefix = f"{name}:"
    return lambda event: (
        (name in event.reserved and wanted.fullmatch(event.reserved[name]) is not None)
        or any(tag.startswith(prefix) and wanted.fullmatch(tag[len(prefix) :]) for tag in event.tags)
    )


def _at(value: Any, path: list[str]) -> Iterator[str]:
    """The scalars below a path, as text. A name with dots in it is found as well as nested objects."""
    if not path:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool):
                yield "true" if item else "false"
            elif isinstance(item, str | int | float):
                yield str(item)
        return
    if isinstance(value, Mapping):
        for length in range(1, len(path) + 1):
            key = ".".join(path[:length])
            if key in value:
                yield from _at(value[key], path[length:])


def normalise_tag(tag: str) -> str:
    """A tag as Datadog stores it: lower case, unusual characters become underscores, 200 characters at most."""
    return re.sub(r"[^\w\-:./]", "_", tag.strip().lower())[:200]


METRIC_QUERY = re.compile(
    r"(?P<aggregation>avg|sum|min|max|count):(?P<metric>[A-Za-z][\w.]*)\{(?P<scope>[^}]*)\}"
    r"(?:\s+by\s+\{(?P<group>[^}]*)\})?(?:\.\w+\([^)]*\))*"
)


def compile_scope(scope: str) -> Callable[[list[str]], bool]:
    """A metric scope such as `tenant:1,!user:2`: all of its parts must hold; `*` takes everything."""
    parts = [part.strip() for part in scope.split(",") if part.strip() not in ("", "*")]
    conditions = [(part.startswith("!"), pattern(part.removeprefix("!"))) for part in parts]
    return lambda tags: all(
        any(wanted.fullmatch(tag) for tag in tags) is not negated for negated, wanted in conditions
    )
