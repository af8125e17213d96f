"""Takes the subject's identifiers out of a row that stays because it is somebody else's."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from lifecycle.datamap.model import Relations
from lifecycle.systems.base import Item, Permanent, Scope
from lifecycle.systems.needles import Needles
from lifecycle.systems.postgresql.catalog import Catalog
from lifecycle.systems.postgresql.keys import RowKey
from lifecycle.systems.postgresql.session import q

GONE = "[erased]"


def redact(cursor: Cursor, catalog: Catalog, relations: Relations, scope: Scope, item: Item) -> int:
    """Replaces every match in the row's text by `[erased]`; returns the number of rows changed (0 or 1)."""
    relation = catalog.relation(item.kind)
    table = next((each for each in relations.tables if each.name == item.kind), None)
    where, params = RowKey.of(relation, table).among("a", [item.key])
    columns = relation.text_columns
    if not columns:
        return 0
    values = ", ".join(_read(relation.columns[name].type, name) for name in columns)
    cursor.execute(f"SELECT {values} FROM {catalog.quoted(item.kind)} a WHERE {where} FOR UPDATE", params)
    row = cursor.fetchone()
    if row is None:
        return 0
    needles = Needles.of(scope)
    changed = {
        name: new for name, old in zip(columns, row, strict=True) if (new := _without(needles, old)) != old
    }
    for name in changed:
        if name in relation.primary:
            raise Permanent(
                f"Table {item.kind} names the subject in its key: the row can be erased, not redacted."
            )
    if not changed:
        return 0
    sets = []
    for i, name in enumerate(changed):
        kind = relation.columns[name].type
        sets.append(f"{q(name)} = {_write(kind, f'%(new{i})s')}")
        params[f"new{i}"] = changed[name] or ""
    cursor.execute(f"UPDATE {catalog.quoted(item.kind)} a SET {', '.join(sets)} WHERE {where}", params)
    return cursor.rowcount


def _read(kind: str, name: str) -> str:
    return f"encode(a.{q(name)}, 'escape')" if kind == "bytea" else f"a.{q(name)}::text"


def _write(kind: str, value: str) -> str:
    return f"decode({value}, 'escape')" if kind == "bytea" else f"{value}::{kind}"


def _without(needles: Needles, text: str | None) -> str | None:
    if text is None:
        return None
    pieces, at = [], 0
    for found in needles.find_all(text):
        pieces += [text[at : found.start], GONE]
        at = found.end
    return "".join([*pieces, text[at:]])
