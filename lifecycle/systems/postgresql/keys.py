"""How one row is named in the manifest: JSON text, so that any later session finds it again.

Discovered rows: `["a", "7"]`, the text of the primary key's (or the map's key) columns. A table without any key:
`["(12,3)", "<md5>"]`, place and hash of the whole row. Rows that a raw search or an officer named, whoever owns
them: `{"row": [...]}`.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from lifecycle.datamap.model import Table
from lifecycle.systems.base import Permanent
from lifecycle.systems.items import columns
from lifecycle.systems.postgresql.catalog import Relation
from lifecycle.systems.postgresql.session import array, q

# Their text needs no quoting in JSON; joined strings are twice as fast as an array of the server's making.
_PLAIN = frozenset({"smallint", "integer", "bigint", "uuid"})


@dataclass(frozen=True)
class RowKey:
    """The key of one table's rows."""

    columns: tuple[str, ...]  # empty: ctid and hash
    types: tuple[str, ...] = ()
    primary: bool = False  # never NULL

    @classmethod
    def of(cls, relation: Relation, table: Table | None) -> RowKey:
        columns = relation.primary or (table.key if table else ())
        unknown = [name for name in columns if name not in relation.columns]
        if unknown:
            raise Permanent(
                f"The data map's key of table {relation.name} names column {unknown[0]}, which it lacks."
            )
        types = tuple(relation.columns[name].type for name in columns)
        return cls(columns, types, bool(relation.primary))

    def text(self, a: str) -> str:
        """SQL: the key of the row `a` as JSON text."""
        if not self.columns:
            return f"json_build_array({a}.ctid::text, md5({a}::text))::text"
        texts = [f"{a}.{q(name)}::text" for name in self.columns]
        if self.primary and _PLAIN.issuperset(self.types):
            inner = """ || '", "' || """.join(texts)
            return f"""'["' || {inner} || '"]'"""
        return f"json_build_array({', '.join(texts)})::text"

    def order(self, a: str) -> str:
        """SQL: what rows are ordered by, so that a page can go on where another ended."""
        return ", ".join(f"{a}.{q(name)}" for name in self.columns) if self.columns else f"{a}.ctid"

    def after(self, a: str, key: str) -> tuple[str, dict[str, str]]:
        """SQL and parameters: rows that come after `key` in `order`."""
        values = values_of(key)
        params = {f"after{i}": value for i, value in enumerate(values)}
        if not self.columns:
            return f"{a}.ctid > %(after0)s::tid", params
        right = ", ".join(f"%(after{i})s::{kind}" for i, kind in enumerate(self.types))
        return f"({self.order(a)}) > ({right})", params

    def among(self, a: str, keys: list[str]) -> tuple[str, dict[str, str]]:
        """SQL and parameters: the row `a` is one of `keys`."""
        parts = _columns(keys, len(self.columns) or 2)
        if not self.columns:
            params = {"keys0": array(parts[0]), "keys1": array(sorted(set(parts[1])))}
            return f"({a}.ctid = ANY(%(keys0)s::tid[]) AND md5({a}::text) = ANY(%(keys1)s::text[]))", params
        if len(self.columns) == 1:
            values = array(parts[0])
            return f"{a}.{q(self.columns[0])} = ANY(%(keys0)s::{self.types[0]}[])", {"keys0": values}
        params = {f"keys{i}": array(column) for i, column in enumerate(parts)}
        lists = ", ".join(f"%(keys{i})s::{kind}[]" for i, kind in enumerate(self.types))
        return f"({self.order(a)}) IN (SELECT * FROM unnest({lists}))", params


def values_of(key: str) -> list[str]:
    """The text values of a key, discovered or named."""
    return _all_values([key])[0]


def _columns(keys: list[str], width: int) -> list[list[str]]:
    """The values of many keys, column by column."""
    if not any(map(is_named, keys)) and (found := columns(keys, width)) is not None:
        return found
    rows = _all_values(keys)
    if any(len(row) < width for row in rows):
        raise Permanent("A key of the manifest has fewer columns than its table's key.")
    return [[row[at] for row in rows] for at in range(width)]


def _all_values(keys: list[str]) -> list[list[str]]:
    """The values of many keys; one parse of all is ten times faster than one of each."""
    pages = orjson.loads(f"[{','.join(keys)}]")
    rows: list[list[str]] = [page["row"] if isinstance(page, dict) else page for page in pages]
    if not all(isinstance(row, list) and row for row in rows):
        raise Permanent("A key of the manifest can't be read as a row's key.")
    return rows


def is_named(key: str) -> bool:
    """Whether a search or an officer named this row, whoever owns it."""
    return key.startswith("{")
