"""Canaries: one row per table that the map erases, one large object; owned by the subject, hidden where the platform can.

Only the shape's own row carries the marker. Rows that it needs above it carry an alias of it, so that a verifier
which is blind in one table can't be saved by another.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import cursor as Cursor

from lifecycle.datamap.model import Handling, Relations, Table
from lifecycle.systems.base import Permanent, Planted, Scope
from lifecycle.systems.postgresql.catalog import Catalog, Column, ForeignKey, Relation, is_textual
from lifecycle.systems.postgresql.keys import RowKey
from lifecycle.systems.postgresql.session import q

ROW = "row:"
LARGE_OBJECT = "large_object"
_SIMPLE = {"N": "0", "B": "false", "D": "now()", "T": "interval '0'", "A": "'{}'", "I": "'127.0.0.1'"}
_NAMED = {
    "uuid": "gen_random_uuid()",
    "json": "'{}'",
    "jsonb": "'{}'",
    "xml": "'<c/>'",
    "date": "current_date",
}


def shapes(catalog: Catalog, relations: Relations, scope: Scope) -> list[str]:
    """`row:TABLE` for each table that can carry a marker, and `large_object` where a table points to some."""
    made = []
    for table in relations.tables:
        if not _erased(table, scope) or table.name not in catalog.relations or _is_tenants(table, scope):
            continue
        if _carrier(catalog, table, scope):
            made.append(f"{ROW}{table.name}")
        if (
            table.large_object
            and _roomy(catalog.relations[table.name], table, scope)
            and LARGE_OBJECT not in made
        ):
            made.append(LARGE_OBJECT)
    return made


def plant(
    cursor: Cursor, catalog: Catalog, relations: Relations, scope: Scope, shape: str, marker: str
) -> Planted:
    """Writes the canary's rows in the transaction of `cursor`. Raises Permanent for a shape that is not offered."""
    if shape not in shapes(catalog, relations, scope):
        raise Permanent(f"PostgreSQL has no canary shape {shape} for this subject.")
    made = _Planter(cursor, catalog, {t.name: t for t in relations.tables}, scope, marker)
    if shape == LARGE_OBJECT:
        table = next(t for t in relations.tables if t.large_object and _erased(t, scope))
        made.large_object(table)
    else:
        made.row(made.tables[shape.removeprefix(ROW)], marker)
    return Planted(shape, marker, json.dumps({"rows": made.rows, "oids": made.oids}))


def lift(cursor: Cursor, catalog: Catalog, relations: Relations, planted: Planted) -> None:
    """Takes a canary's rows and large object away again; what is gone already is no error."""
    place = json.loads(planted.place)
    tables = {table.name: table for table in relations.tables}
    for name, key in place["rows"]:
        where, params = RowKey.of(catalog.relation(name), tables.get(name)).among("a", [key])
        cursor.execute(f"DELETE FROM {catalog.quoted(name)} a WHERE {where}", params)
    cursor.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = ANY(%s)", [place["oids"]])


def _erased(table: Table, scope: Scope) -> bool:
    spared = set(scope.retained) | set(scope.held_categories)
    return table.handling is Handling.ERASE and table.category not in spared


def _is_tenants(table: Table, scope: Scope) -> bool:
    """Whether no row of the table can be one user's, and a user is the subject."""
    return scope.subject.user is not None and not (table.user or table.via or table.shared_through)


def _carrier(catalog: Catalog, table: Table, scope: Scope) -> str:
    """The column that carries the marker: free text first, a textual key else; "" where none can."""
    relation = catalog.relations[table.name]
    if not _roomy(relation, table, scope):
        return ""
    taken = {table.tenant, table.user, *dict(table.canary), *(column for _, column in table.via)}
    taken |= {name for key in catalog.foreign_keys if key.child == table.name for name in key.columns}
    free = [
        relation.columns[n]
        for n in relation.text_columns
        if n not in taken and not relation.columns[n].generated
    ]
    if scope.subject.user is None and table.user and table.user in relation.text_columns and not free:
        return table.user
    free.sort(
        key=lambda column: (
            column.name in relation.primary,
            column.name in table.detach,
            column.type == "bytea",
        )
    )
    return free[0].name if free else ""


def _roomy(relation: Relation, table: Table, scope: Scope) -> bool:
    """Whether one more row of the subject fits: no key made of its owner columns alone."""
    owner = {table.tenant, table.user} if scope.subject.user is not None else {table.tenant}
    return not any(set(key) <= owner for key in relation.unique)


@dataclass
class _Made:
    columns: list[str]
    values: list[str]
    params: dict[str, Any]


class _Planter:
    def __init__(
        self, cursor: Cursor, catalog: Catalog, tables: dict[str, Table], scope: Scope, marker: str
    ) -> None:
        self.cursor, self.catalog, self.tables, self.scope = cursor, catalog, tables, scope
        self.alias = f"c{hashlib.sha256(marker.encode()).hexdigest()[:20]}"
        self.rows: list[tuple[str, str]] = []
        self.oids: list[int] = []
        self.marker = marker

    def row(self, table: Table, text: str, oid: int | None = None) -> str:
        """A row carrying `text`; found again if it stands already. Returns its key."""
        carrier = _carrier(self.catalog, table, self.scope)
        if not carrier:
            raise Permanent(
                f"A canary needs a row of {table.name}, which has no free text column for one more row."
            )
        known = self._standing(table, carrier, text)
        if known is not None:
            self.rows.append((table.name, known))
            return known
        made = _Made(
            [],
            [],
            {"text": text, "tenant": self.scope.subject.tenant, "user": self.scope.subject.user or text},
        )
        for column in self.catalog.relations[table.name].columns.values():
            self._fill(table, column, carrier, made, oid)
        key = RowKey.of(self.catalog.relations[table.name], table).text("a")
        self.cursor.execute(
            f"INSERT INTO {self.catalog.quoted(table.name)} AS a ({', '.join(map(q, made.columns))}) "
            f"VALUES ({', '.join(made.values)}) RETURNING {key}",
            made.params,
        )
        (found,) = self.cursor.fetchone() or ("",)
        # A canary's own row first, the rows above it after: the order in which they may be lifted.
        self.rows.insert(0, (table.name, found))
        return str(found)

    def large_object(self, table: Table) -> None:
        """A large object whose bytes are the marker, under a row that does not carry it."""
        column = q(table.large_object or "")
        carrier = _carrier(self.catalog, table, self.scope)
        known = self._standing(table, carrier, self.alias) if carrier else None
        if known is not None:
            where, params = RowKey.of(self.catalog.relations[table.name], table).among("a", [known])
            self.cursor.execute(
                f"SELECT a.{column}::bigint FROM {self.catalog.quoted(table.name)} a WHERE {where}", params
            )
            (oid,) = self.cursor.fetchone() or (None,)
            self.rows.append((table.name, known))
        else:
            self.cursor.execute("SELECT lo_from_bytea(0, %s)", [self.marker.encode()])
            (oid,) = self.cursor.fetchone() or (None,)
            self.row(table, self.alias, int(oid or 0))
        self.oids.append(int(oid or 0))

    def _standing(self, table: Table, carrier: str, text: str) -> str | None:
        relation = self.catalog.relations[table.name]
        key = RowKey.of(relation, table).text("a")
        cast = "encode(a.{0}, 'escape')" if relation.columns[carrier].type == "bytea" else "a.{0}::text"
        value = cast.format(q(carrier))
        self.cursor.execute(
            f"SELECT {key} FROM {self.catalog.quoted(table.name)} a WHERE {value} IN (%s, %s) LIMIT 1",
            [text, json.dumps(text)],
        )
        row = self.cursor.fetchone()
        return str(row[0]) if row else None

    def _fill(self, table: Table, column: Column, carrier: str, made: _Made, oid: int | None) -> None:
        value = self._value(table, column, carrier, made, oid)
        if value is not None:
            made.columns.append(column.name)
            made.values.append(value)

    def _value(self, table: Table, column: Column, carrier: str, made: _Made, oid: int | None) -> str | None:
        name = column.name
        if column.generated:
            return None
        if name in dict(table.canary):
            made.params[f"canary {name}"] = dict(table.canary)[name]
            return f"%(canary {name})s"
        if oid is not None and name == table.large_object:
            made.params["oid"] = oid
            return "%(oid)s"
        if name == carrier:
            return _carried(column)
        if name == table.tenant:
            return "%(tenant)s"
        if name == table.user or (table.shared_through and name in table.detach):
            return "%(user)s"
        parent = self._parent(table, column)
        if parent is not None:
            made.params[f"parent {name}"] = self._above(table, parent, name)
            return f"%(parent {name})s"
        if not column.required or column.default:
            return None
        return self._plain(table, column)

    def _parent(self, table: Table, column: Column) -> ForeignKey | str | None:
        for key in self.catalog.foreign_keys:
            if key.child == table.name and column.name in key.columns and key.parent != table.name:
                via = any(column.name == own and parent == key.parent for parent, own in table.via)
                return key if via or column.required else None
        return next((parent for parent, own in table.via if own == column.name), None)

    def _above(self, table: Table, parent: ForeignKey | str, column: str) -> str:
        """The value by which the canary's row points to a canary row above it."""
        name = parent if isinstance(parent, str) else parent.parent
        if name not in self.tables:
            raise Permanent(
                f"A canary row of {table.name} needs a row of {name}, which the data map does not classify."
            )
        pairs = dict(self.catalog.link(table.name, column, name))
        if self.tables[name].handling is not Handling.ERASE:
            where, params = "TRUE", dict[str, str]()
        else:
            key = self.row(self.tables[name], self.alias)
            where, params = RowKey.of(self.catalog.relations[name], self.tables[name]).among("a", [key])
        self.cursor.execute(
            f"SELECT a.{q(pairs[column])}::text FROM {self.catalog.quoted(name)} a WHERE {where} LIMIT 1",
            params,
        )
        row = self.cursor.fetchone()
        if row is None:
            raise Permanent(f"A canary row of {table.name} needs a row of {name}, and there is none.")
        return str(row[0])

    def _plain(self, table: Table, column: Column) -> str:
        if is_textual(column):
            relation = self.catalog.relations[table.name]
            keyed = {*relation.primary, *(name for key in relation.unique for name in key)}
            # A key must differ from canary to canary; any other column stays silent.
            return _carried(column) if column.name in keyed else _carried(column, "'c'")
        if column.labels:
            return "'" + column.labels[0].replace("'", "''").replace("%", "%%") + "'"
        value = _NAMED.get(column.type) or _SIMPLE.get(column.kind)
        if value is None:
            raise Permanent(
                f"A canary can't fill column {column.name} of {table.name}: give it a value under `canary` in the data map."
            )
        if column.name in self.catalog.relations[table.name].primary and column.kind == "N":
            return "-floor(random() * 32000)::int - 1"
        return value


def _carried(column: Column, text: str = "%(text)s") -> str:
    if column.type.endswith("[]"):
        return f"ARRAY[{text}]::{column.type}"
    if column.type == "bytea":
        return f"convert_to({text}, 'UTF8')"
    if column.type in ("json", "jsonb"):
        return f"to_json({text}::text)::{column.type}"
    return text
