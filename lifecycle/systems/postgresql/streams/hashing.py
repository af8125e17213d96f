"""What two databases say about the same rows: keys as JSON, contents as hashes, ranges of keys as sums.

A row's hash is 64 bits of MD5 of its columns' text: against accidents, not against an adversary, who could only hide a
fault in rows that are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams.database import Database
from lifecycle.systems.postgresql.streams.tables import Moved


@dataclass(frozen=True, slots=True)
class Range:
    """Keys above `low` up to and with `high` (texts of the columns of `order`); None is without an end."""

    low: tuple[str, ...] | None
    high: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Sum:
    """How many rows a range has, and the sum of their hashes."""

    rows: int
    total: int


class Hashed:
    """One moved table of one database, for one tenant."""

    def __init__(self, table: Moved, tenant: str) -> None:
        self.table, self.tenant = table, tenant
        self.key = f"jsonb_build_array({', '.join(f'to_jsonb({q(c)}) #>> {_PATH}' for c in table.key_columns)})::text"
        parts = [_object(q(c)) if c == table.large_object else q(c) for c in table.columns]
        # The first column decides nothing: ROW() of one column would be written without parentheses.
        self.hash = f"('x' || left(md5(ROW(1, {', '.join(parts)})::text), 16))::bit(64)::bigint"
        self.order = ", ".join(q(c) for c in table.order)

    def sum(self, database: Database, part: Range) -> Sum:
        """Count and sum of a range."""
        where, params = self._within(part)
        rows, total = database.rows(
            f"SELECT count(*), coalesce(sum({self.hash}), 0) FROM {self.table.quoted} WHERE {where}", params
        )[0]
        return Sum(int(rows), int(total))

    def rows(self, database: Database, part: Range) -> dict[str, Any]:
        """Hash by key of a range; without a primary key: how often each row is there."""
        where, params = self._within(part)
        return self._read(database, where, params)

    def these(self, database: Database, keys: Sequence[str]) -> dict[str, Any]:
        """Hash (or count) of these keys; those that are not there are left out."""
        where, params = self.found(keys)
        return self._read(database, where, params)

    def found(self, keys: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """A condition that finds the tenant's rows of these keys, by the primary key's index."""
        params = {"tenant": self.tenant, "keys": list(keys)}
        own = f"{q(self.table.tenant)} = %(tenant)s::{self.table.tenant_type}"
        if not self.table.key:
            return f"{own} AND {self.key} = ANY(%(keys)s)", params
        columns = ", ".join(q(c) for c in self.table.key)
        values = ", ".join(f"(k.value::jsonb ->> {n})::{self._type(c)}" for n, c in enumerate(self.table.key))
        return f"{own} AND ({columns}) IN (SELECT {values} FROM unnest(%(keys)s::text[]) k(value))", params

    def boundary(self, database: Database, low: tuple[str, ...] | None, size: int) -> tuple[str, ...] | None:
        """The key `size` rows above `low`; None when fewer are left."""
        where, params = self._within(Range(low, None))
        # With names of their own: ORDER BY would take a cast column for the column, and sort numbers as texts.
        columns = ", ".join(f"{q(c)}::text AS bound{n}" for n, c in enumerate(self.table.order))
        found = database.rows(
            f"SELECT {columns} FROM {self.table.quoted} WHERE {where} ORDER BY {self.order} OFFSET {size} LIMIT 1",
            params,
        )
        return tuple(str(value) for value in found[0]) if found else None

    def _read(self, database: Database, where: str, params: dict[str, Any]) -> dict[str, Any]:
        if self.table.key:
            what, group = f"{self.key}, {self.hash}", ""
        else:
            what, group = f"{self.key}, count(*)", " GROUP BY 1"
        return dict(database.rows(f"SELECT {what} FROM {self.table.quoted} WHERE {where}{group}", params))

    def _within(self, part: Range) -> tuple[str, dict[str, Any]]:
        params: dict[str, Any] = {"tenant": self.tenant}
        where = f"{q(self.table.tenant)} = %(tenant)s::{self.table.tenant_type}"
        for name, sign, bound in (("low", ">", part.low), ("high", "<=", part.high)):
            if bound is None:
                continue
            values = []
            for n, (column, value) in enumerate(zip(self.table.order, bound, strict=True)):
                params[f"{name}{n}"] = value
                values.append(f"%({name}{n})s::{self._type(column)}")
            where += f" AND ({self.order}) {sign} ({', '.join(values)})"
        return where, params

    def _type(self, column: str) -> str:
        return self.table.types[column]


_PATH = "'{}'"


def _object(column: str) -> str:
    """A large object counts by its content: its number differs from server to server."""
    return (
        f"CASE WHEN EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.oid = {column}) "
        f"THEN md5(lo_get({column})) WHEN {column} IS NOT NULL THEN 'lost' END"
    )
