"""Whose a row is, as SQL: the subject's own, kept on a legal ground, or needed by a row that is kept.

Every method returns a boolean expression over one alias; its parameters are in `params`. Rows are the subject's by
their owner columns or through a parent (`via`); a held (spared) user's rows are never the subject's.
"""

from __future__ import annotations

import uuid
from typing import Any

from lifecycle.datamap.model import Handling, Relations, Table
from lifecycle.systems.base import Scope
from lifecycle.systems.postgresql.catalog import Catalog, ForeignKey
from lifecycle.systems.postgresql.session import q

FALSE = "FALSE"
_WHOLE_NUMBERS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}


class Ownership:
    """The predicates of one scope over one catalog."""

    def __init__(self, catalog: Catalog, relations: Relations, scope: Scope) -> None:
        self.catalog = catalog
        self.tables = {table.name: table for table in relations.tables if table.name in catalog.relations}
        self.scope = scope
        self.params: dict[str, Any] = {
            "tenant": scope.subject.tenant,
            "user": scope.subject.user,
            "spared": list(scope.spared_users),
            "pseudonym": scope.pseudonym,
        }
        self._aliases = 0

    def mine(self, table: Table, a: str, *, again: bool = False) -> str:
        """The row `a` is the subject's. `again`: asked about a row already found, whose messages may be gone by now."""
        if table.handling is Handling.KEEP:
            return FALSE
        if table.shared_through and self.scope.subject.user is not None:
            own = self._shared(table, a, again)
        else:
            own = any_of([self._owned(table, a), *self._through(table, a, again)])
            if table.shared_through and self.scope.spared_users:
                own = all_of(
                    [
                        own,
                        *(
                            f"NOT {self._someone_elses(table, a, link, again)}"
                            for link in table.shared_through
                        ),
                    ]
                )
        if own == FALSE or not (self.scope.spared_users and table.user):
            return own
        return f"({own} AND NOT {self._is_spared(table, a)})"

    def kept(self, table: Table, a: str) -> str:
        """The row `a`, one of the subject's, must stay: retained, held, or pointed to by a row that stays."""
        return any_of([self._retained(table, a), self._needed(table, a)])

    def in_tenant(self, table: Table, a: str) -> str:
        """The row `a` is of the subject's tenant, whoever's it is there."""
        if table.tenant:
            return self._equals(table.name, a, table.tenant, "tenant")
        parts = []
        for parent, column in table.via:
            p, join = self._join(table.name, a, column, parent)
            inner = self.in_tenant(self.tables[parent], p)
            parts.append(f"EXISTS (SELECT FROM {self.catalog.quoted(parent)} {p} WHERE {join} AND {inner})")
        return any_of(parts)

    def names_user(self, table: Table, a: str, column: str) -> str:
        """Column `column` of the row `a` names the user."""
        return self._equals(table.name, a, column, "user")

    def alias(self) -> str:
        self._aliases += 1
        return f"t{self._aliases}"

    def matched(self, key: ForeignKey, child: str, parent: str) -> str:
        """The join of two aliases along a foreign key."""
        pairs = zip(key.columns, key.parent_columns, strict=True)
        return " AND ".join(f"{child}.{q(own)} = {parent}.{q(other)}" for own, other in pairs)

    def _owned(self, table: Table, a: str) -> str:
        if not table.tenant:
            return FALSE
        tenant = self._equals(table.name, a, table.tenant, "tenant")
        if self.scope.subject.user is None:
            return tenant
        if not table.user:
            return FALSE
        return all_of([tenant, self._equals(table.name, a, table.user, "user")])

    def _through(self, table: Table, a: str, again: bool) -> list[str]:
        parts = []
        for parent, column in table.via:
            if parent not in self.tables:
                continue
            p, join = self._join(table.name, a, column, parent)
            inner = self.mine(self.tables[parent], p, again=again)
            if inner != FALSE:
                parts.append(
                    f"EXISTS (SELECT FROM {self.catalog.quoted(parent)} {p} WHERE {join} AND {inner})"
                )
        return parts

    def _shared(self, table: Table, a: str, again: bool) -> str:
        """A shared row is the user's last: theirs are in it or they started it, and nobody else's are left in it."""
        links = [link for link in table.shared_through if link[0] in self.tables]
        nobody_else = [f"NOT {self._someone_elses(table, a, link, again)}" for link in links]
        parts = [self.in_tenant(table, a), *nobody_else]
        if not again:
            theirs = [self._has_mine(table, a, link) for link in links]
            theirs += [self._equals(table.name, a, column, "user") for column in table.detach]
            parts.append(any_of(theirs))
        return all_of(parts)

    def _has_mine(self, table: Table, a: str, link: tuple[str, str]) -> str:
        child, join = self._join_back(table, a, link)
        inner = self.mine(self.tables[link[0]], child)
        return f"EXISTS (SELECT FROM {self.catalog.quoted(link[0])} {child} WHERE {join} AND {inner})"

    def _someone_elses(self, table: Table, a: str, link: tuple[str, str], again: bool) -> str:
        child, join = self._join_back(table, a, link)
        inner = self.mine(self.tables[link[0]], child, again=again)
        return (
            f"EXISTS (SELECT FROM {self.catalog.quoted(link[0])} {child} "
            f"WHERE {join} AND ({inner}) IS NOT TRUE)"
        )

    def _join_back(self, table: Table, a: str, link: tuple[str, str]) -> tuple[str, str]:
        child = self.alias()
        pairs = self.catalog.link(link[0], link[1], table.name)
        return child, " AND ".join(f"{child}.{q(own)} = {a}.{q(other)}" for own, other in pairs)

    def _join(self, table: str, a: str, column: str, parent: str) -> tuple[str, str]:
        p = self.alias()
        pairs = self.catalog.link(table, column, parent)
        return p, " AND ".join(f"{p}.{q(other)} = {a}.{q(own)}" for own, other in pairs)

    def _retained(self, table: Table, a: str) -> str:
        category = table.category
        if category in self.scope.held_categories:
            return "TRUE"
        if category not in self.scope.retained:
            return FALSE
        since = self.scope.retained[category]
        if since is None or not table.dated:
            return "TRUE"
        parameter = f"since {category}"
        self.params[parameter] = since
        dated = f"{a}.{q(table.dated)}"
        return f"({dated} IS NULL OR {dated} >= %({parameter})s)"

    def _needed(self, table: Table, a: str) -> str:
        """Rows that stay point here: without this row they could not stay."""
        parts = []
        for key in self.catalog.referencing(table.name):
            child = self.tables.get(key.child)
            if child is None or key.child == table.name or child.handling is not Handling.ERASE:
                continue
            c = self.alias()
            stays = any_of([self._stays(child, c), self._spared(child, c)])
            if stays != FALSE:
                join = self.matched(key, c, a)
                parts.append(
                    f"EXISTS (SELECT FROM {self.catalog.quoted(key.child)} {c} WHERE {join} AND {stays})"
                )
        return any_of(parts)

    def _stays(self, table: Table, a: str) -> str:
        kept = self.kept(table, a)
        return FALSE if kept == FALSE else all_of([self.mine(table, a), kept])

    def _spared(self, table: Table, a: str) -> str:
        """The row `a` is a held user's."""
        if not self.scope.spared_users:
            return FALSE
        parts = [all_of([self.in_tenant(table, a), self._is_spared(table, a)])] if table.user else []
        for parent, column in table.via:
            p, join = self._join(table.name, a, column, parent)
            inner = self._spared(self.tables[parent], p)
            if inner != FALSE:
                parts.append(
                    f"EXISTS (SELECT FROM {self.catalog.quoted(parent)} {p} WHERE {join} AND {inner})"
                )
        return any_of(parts)

    def _is_spared(self, table: Table, a: str) -> str:
        return f"coalesce({a}.{q(table.user or '')}::text = ANY(%(spared)s), FALSE)"

    def _equals(self, table: str, a: str, column: str, parameter: str) -> str:
        """Equality that an index can serve; an id that the column's type can't hold equals nothing."""
        known = self.catalog.relation(table).columns.get(column)
        value = self.params[parameter]
        if known is None or value is None or not _fits(known.type, str(value)):
            return FALSE
        return f"{a}.{q(column)} = %({parameter})s::{known.type}"


def any_of(parts: list[str]) -> str:
    real = [part for part in parts if part != FALSE]
    if not real:
        return FALSE
    if "TRUE" in real:
        return "TRUE"
    return real[0] if len(real) == 1 else f"({' OR '.join(real)})"


def all_of(parts: list[str]) -> str:
    if FALSE in parts:
        return FALSE
    real = [part for part in parts if part != "TRUE"]
    return f"({' AND '.join(real)})" if real else "TRUE"


def _fits(kind: str, value: str) -> bool:
    if kind in _WHOLE_NUMBERS:
        return value.isascii() and value.lstrip("-").isdecimal() and abs(int(value)) < _WHOLE_NUMBERS[kind]
    if kind == "uuid":
        try:
            uuid.UUID(value)
        except ValueError:
            return False
    return True
