"""Destroys rows inside one open, fenced transaction: nothing dangles, nobody else's row goes with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor

from lifecycle.datamap.model import Handling, Table
from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.postgresql.catalog import Catalog, ForeignKey
from lifecycle.systems.postgresql.keys import RowKey, is_named, values_of
from lifecycle.systems.postgresql.ownership import FALSE, Ownership, any_of
from lifecycle.systems.postgresql.session import array, q

_LOOSENED_BY_SERVER = ("n", "d")
_DEEPEST = 12


@dataclass
class Done:
    """What one transaction saw go."""

    erased: int = 0
    anonymised: int = 0
    touched: set[str] = field(default_factory=set)


class Rows:
    """Erasing, anonymising and detaching rows of one scope, in the transaction of `cursor`."""

    def __init__(self, catalog: Catalog, ownership: Ownership, cursor: Cursor) -> None:
        self.catalog = catalog
        self.own = ownership
        self.cursor = cursor
        self.done = Done()

    def erase(self, name: str, keys: Sequence[str]) -> None:
        """Deletes rows of one table: discovered ones only while they are still the subject's, named ones as named."""
        table = self.own.tables.get(name)
        named = [key for key in keys if key[:1] == "{"]
        found = [key for key in keys if not is_named(key)] if named else list(keys)
        if found and table is not None:
            self.done.erased += self._delete(table, found)
        if named:
            self.done.erased += self._delete_named(name, named)

    def anonymise(self, table: Table, keys: Sequence[str]) -> None:
        """Gives the columns of the map's `set` their values; who did it is a pseudonym afterwards."""
        if not table.set:
            raise Permanent(
                f"The data map does not say how a row of {table.name} is anonymised: give it `set`."
            )
        where, params = self._key(table.name).among("a", list(keys))
        pseudonym = self.own.scope.pseudonym
        columns = []
        for i, (column, value) in enumerate(table.set):
            columns.append(f"{q(column)} = %(set{i})s")
            params[f"set{i}"] = None if value is None else value.replace("{pseudonym}", pseudonym)  # type: ignore[assignment]
        if not any(map(is_named, keys)):
            where = f"{where} AND {self.own.mine(table, 'a', again=True)}"
        self.done.anonymised += self._run(
            f"UPDATE {self.catalog.quoted(table.name)} a SET {', '.join(columns)} WHERE {where}", params
        )
        self.done.touched.add(table.name)

    def detach(self, table: Table, column: str, keys: Sequence[str]) -> None:
        """Takes the user out of a column of rows that stay: NULL, or the pseudonym where it must not be empty."""
        where, params = self._key(table.name).among("a", list(keys))
        known = self.catalog.relation(table.name).columns[column]
        value = "%(pseudonym)s" if known.required else "NULL"
        names = self.own.names_user(table, "a", column)
        self.done.anonymised += self._run(
            f"UPDATE {self.catalog.quoted(table.name)} a SET {q(column)} = {value} WHERE {where} AND {names}",
            params,
        )
        self.done.touched.add(table.name)

    def unlink(self, keys: Sequence[str]) -> None:
        """Removes large objects: discovered ones unless a row of somebody else points to them, named ones as named."""
        found = array([values_of(key)[0] for key in keys if not is_named(key)])
        self.done.erased += self._unlink("m.oid = ANY(%(oids)s::oid[])", {"oids": found})
        named = array([values_of(key)[0] for key in keys if is_named(key)])
        self.done.erased += self._run(
            "SELECT lo_unlink(m.oid) FROM pg_largeobject_metadata m WHERE m.oid = ANY(%(oids)s::oid[])",
            {"oids": named},
        )

    def _key(self, name: str) -> RowKey:
        return RowKey.of(self.catalog.relation(name), self.own.tables.get(name))

    def _run(self, statement: str, params: dict[str, str]) -> int:
        self.cursor.execute(statement, {**self.own.params, **params})
        return self.cursor.rowcount

    def _delete(self, table: Table, keys: list[str], depth: int = 0) -> int:
        if depth > _DEEPEST:
            raise Permanent(
                f"Rows that point to table {table.name} form a chain of more than {_DEEPEST} tables."
            )
        where, params = self._key(table.name).among("a", keys)
        conditions = [where, self.own.mine(table, "a", again=True)]
        kept = self.own.kept(table, "a")
        if kept != FALSE:
            conditions.append(f"({kept}) IS NOT TRUE")
        condition = " AND ".join(conditions)
        removed = self._loosen(table.name, condition, params, depth)
        if table.large_object:
            removed += self._unlink_of(table, condition, params)
        self.done.touched.add(table.name)
        return removed + self._run(
            f"DELETE FROM {self.catalog.quoted(table.name)} a WHERE {condition}", params
        )

    def _delete_named(self, name: str, keys: list[str]) -> int:
        """Rows that an officer or the verifier named: in any table, mapped or not."""
        if name not in self.catalog.relations:
            raise Permanent(f"A row to erase is in table {name}, which is outside the data map's schema.")
        where, params = self._key(name).among("a", keys)
        removed = self._loosen(name, where, params, 0)
        table = self.own.tables.get(name)
        if table is not None and table.large_object:
            removed += self._unlink_of(table, where, params)
        self.done.touched.add(name)
        return removed + self._run(f"DELETE FROM {self.catalog.quoted(name)} a WHERE {where}", params)

    def _loosen(self, name: str, condition: str, params: dict[str, str], depth: int) -> int:
        """Before rows go: the subject's own rows below them go first, other rows that point to them let go."""
        removed = 0
        for key in self.catalog.referencing(name):
            inside = key.child == key.parent or key.child not in self.own.tables
            if key.on_delete in _LOOSENED_BY_SERVER and inside:
                continue
            if self._may_point(key, params) and self._points(key, condition, params):
                removed += self._loosen_one(key, condition, params, depth)
        return removed

    def _may_point(self, key: ForeignKey, params: dict[str, str]) -> bool:
        """A quick look by the batch's keys alone: mostly the children went before, and nothing points here."""
        known = self._key(key.parent)
        if key.parent_columns != known.columns:
            return True
        columns = ", ".join(f"c.{q(name)}" for name in key.columns)
        lists = ", ".join(f"%(keys{i})s::{kind}[]" for i, kind in enumerate(known.types))
        self.cursor.execute(
            f"SELECT EXISTS (SELECT FROM {self.catalog.quoted(key.child)} c "
            f"WHERE ({columns}) IN (SELECT * FROM unnest({lists})))",
            params,
        )
        row = self.cursor.fetchone()
        return bool(row and row[0])

    def _points(self, key: ForeignKey, condition: str, params: dict[str, str]) -> bool:
        statement = f"SELECT EXISTS (SELECT {self._pointing(key, condition)})"
        self.cursor.execute(statement, {**self.own.params, **params})
        row = self.cursor.fetchone()
        return bool(row and row[0])

    def _pointing(self, key: ForeignKey, condition: str) -> str:
        join = self.own.matched(key, "c", "a")
        return (
            f"FROM {self.catalog.quoted(key.child)} c JOIN {self.catalog.quoted(key.parent)} a ON {join} "
            f"WHERE {condition}"
        )

    def _loosen_one(self, key: ForeignKey, condition: str, params: dict[str, str], depth: int) -> int:
        removed = 0
        child = self.own.tables.get(key.child)
        if child is not None and child.handling is Handling.ERASE and key.child != key.parent:
            mine = self.own.mine(child, "c", again=True)
            if mine != FALSE:
                removed = self._delete_below(key, child, f"{condition} AND {mine}", params, depth)
        if key.on_delete not in _LOOSENED_BY_SERVER and self._points(
            key, self._outside(key, condition), params
        ):
            self._let_go(key, self._outside(key, condition), params)
        return removed

    def _outside(self, key: ForeignKey, condition: str) -> str:
        """A row that points into its own table and goes in the same statement needs no loosening."""
        return condition if key.child != key.parent else f"{condition} AND c.ctid <> a.ctid"

    def _delete_below(
        self, key: ForeignKey, child: Table, condition: str, params: dict[str, str], depth: int
    ) -> int:
        text = self._key(key.child).text("c")
        self.cursor.execute(f"SELECT {text} {self._pointing(key, condition)}", {**self.own.params, **params})
        keys = [row[0] for row in self.cursor.fetchall()]
        return self._delete(child, keys, depth + 1) if keys else 0

    def _let_go(self, key: ForeignKey, condition: str, params: dict[str, str]) -> None:
        """Somebody else's row stays and stops pointing here, where the column may be empty."""
        columns = self.catalog.relations[key.child].columns if key.child in self.catalog.relations else {}
        free = [name for name in key.columns if name in columns and not columns[name].required]
        own = self.own.tables.get(key.child)
        owners = {own.tenant, own.user} if own else set()
        free = [name for name in free if name not in owners] or free
        if not free:
            raise Permanent(
                f"Rows of table {key.child} that are not the subject's point by {', '.join(key.columns)} to rows of "
                f"{key.parent} that must go, and the column may not be empty. Name it under `via` if those rows are "
                "the subject's too, or let it be NULL and name it under `detach`."
            )
        chosen = ", ".join(f"{q(name)} = NULL" for name in free)
        join = self.own.matched(key, "c", "a")
        self._run(
            f"UPDATE {self.catalog.quoted(key.child)} c SET {chosen} FROM {self.catalog.quoted(key.parent)} a "
            f"WHERE {join} AND {condition}",
            params,
        )
        self.done.touched.add(key.child)

    def _unlink_of(self, table: Table, condition: str, params: dict[str, str]) -> int:
        column = f"a.{q(table.large_object or '')}"
        inner = f"SELECT {column} FROM {self.catalog.quoted(table.name)} a WHERE {condition} AND {column} IS NOT NULL"
        return self._unlink(f"m.oid IN ({inner})", params)

    def _unlink(self, condition: str, params: dict[str, str]) -> int:
        pointing = []
        for table in self.own.tables.values():
            if table.large_object:
                b = self.own.alias()
                pointing.append(
                    f"EXISTS (SELECT FROM {self.catalog.quoted(table.name)} {b} WHERE {b}.{q(table.large_object)} = m.oid "
                    f"AND ({self.own.mine(table, b)}) IS NOT TRUE)"
                )
        spare = any_of(pointing)
        try:
            return self._run(
                f"SELECT lo_unlink(m.oid) FROM pg_largeobject_metadata m WHERE {condition} AND ({spare}) IS NOT TRUE",
                params,
            )
        except errors.UndefinedObject:
            raise Transient(
                "Another transaction of PostgreSQL unlinked the same large object; it is tried again."
            ) from None


def row_key(values: Sequence[str]) -> str:
    """A discovered row's key from its values."""
    return json.dumps(list(values), ensure_ascii=False)
