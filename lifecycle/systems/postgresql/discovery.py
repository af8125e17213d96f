"""Finding a subject's rows: table by table, children before parents, read with server-side cursors.

The server already reads the next page while the last one is being sealed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from psycopg2.extensions import cursor as Cursor

from lifecycle.datamap.model import Handling, Relations, Table
from lifecycle.systems.base import Action, Item, Page
from lifecycle.systems.items import Items, Run
from lifecycle.systems.postgresql.catalog import Catalog, children_first
from lifecycle.systems.postgresql.keys import RowKey
from lifecycle.systems.postgresql.ownership import FALSE, Ownership
from lifecycle.systems.postgresql.session import Session, q

LARGE_OBJECT = "large_object"
PAGE = 10_000
_SECONDS = 8.0
_Rows = list[tuple[str, bool]]


@dataclass(frozen=True)
class Part:
    """One query of the inventory: a table's rows, its large objects, or a column of rows that stay."""

    table: Table
    kind: str
    column: str = ""
    large_objects: bool = False

    @property
    def name(self) -> str:
        return f"{self.table.name}:{self.kind}"


def parts(catalog: Catalog, relations: Relations) -> list[Part]:
    """Everything to read, in the order in which it may be destroyed."""
    made: list[Part] = []
    for table in children_first(catalog, relations):
        if table.handling is Handling.KEEP:
            continue
        if table.large_object:
            made.append(Part(table, LARGE_OBJECT, large_objects=True))
        made.append(Part(table, table.name))
        made += [Part(table, f"{table.name}.{column}", column) for column in table.detach]
    return made


class Discovery:
    """One pass over the parts. Its server-side cursor lives as long as this object; `cursor` JSON resumes elsewhere."""

    def __init__(
        self, session: Session, catalog: Catalog, relations: Relations, ownership: Ownership, cursor: Any
    ) -> None:
        self._session = session
        self._catalog = catalog
        self._own = ownership
        self._parts = parts(catalog, relations)
        names = [part.name for part in self._parts]
        self._at = names.index(cursor["part"]) if cursor else 0
        self._after: str | None = cursor["after"] if cursor else None
        self._open: Cursor | None = None
        self._ahead: Future[_Rows] | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="ahead")

    def is_at(self, cursor: Any) -> bool:
        """Whether the next page of this object is the one that `cursor` asks for."""
        return bool(cursor) and self._at < len(self._parts) and cursor == self._cursor()

    def page(self) -> Page[Item]:
        """Up to 10,000 items, or what eight seconds gave."""
        runs: list[Run] = []
        count = 0
        began = time.monotonic()
        while self._at < len(self._parts) and count < PAGE and time.monotonic() - began < _SECONDS:
            part = self._parts[self._at]
            rows = self._fetch(part, PAGE - count)
            runs += _as_runs(part, rows)
            count += len(rows)
            if rows:
                self._after = rows[-1][0]
            else:
                self._next()
        if self._at == len(self._parts):
            return Page(Items(runs), None)
        if self._open is not None:
            self._ahead = self._reader.submit(self._open.fetchmany, PAGE)
        return Page(Items(runs), self._cursor())

    def close(self) -> None:
        """Waits for what is being read ahead, and ends its thread; the connection may end after that."""
        self._reader.shutdown(wait=True)

    def _cursor(self) -> dict[str, Any]:
        return {"part": self._parts[self._at].name, "after": self._after}

    def _next(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open, self._after = None, None
        self._at += 1

    def _fetch(self, part: Part, count: int) -> _Rows:
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead.result()
        if self._open is None:
            statement, params = self._statement(part)
            if not statement:
                return []
            connection = self._session.connection("read")
            self._open = connection.cursor(name=f"found_{self._at}")
            self._open.itersize = PAGE
            self._open.execute(statement, {**self._own.params, **params})
        return self._open.fetchmany(count)

    def _statement(self, part: Part) -> tuple[str, dict[str, str]]:
        """SQL giving (key, kept) in key order, after the last key of the page before; "" where nothing can match."""
        table = part.table
        if part.column:
            return self._detaching(part)
        mine = self._own.mine(table, "a")
        if mine == FALSE:
            return "", {}
        kept = self._own.kept(table, "a")
        if part.large_objects:
            return self._large_objects(table, mine, kept)
        key = RowKey.of(self._catalog.relation(table.name), table)
        where, params = [mine], dict[str, str]()
        if table.handling is Handling.ANONYMISE:
            where.append(self._unlike(table, params))
        if self._after is not None:
            condition, after = key.after("a", self._after)
            where.append(condition)
            params |= after
        return self._select(key.text("a"), kept, table.name, where, key.order("a")), params

    def _unlike(self, table: Table, params: dict[str, str]) -> str:
        """A row that is anonymised already is found no more."""
        different = []
        for i, (column, value) in enumerate(table.set):
            kind = self._catalog.relation(table.name).columns[column].type
            if value is None:
                different.append(f"a.{q(column)} IS NOT NULL")
                continue
            params[f"set{i}"] = value.replace("{pseudonym}", self._own.scope.pseudonym)
            cast = "::text" if kind in ("json", "xml") else ""
            different.append(f"a.{q(column)}{cast} IS DISTINCT FROM %(set{i})s::{kind}{cast}")
        return f"({' OR '.join(different)})"

    def _detaching(self, part: Part) -> tuple[str, dict[str, str]]:
        table = part.table
        if self._own.scope.subject.user is None:
            return "", {}
        key = RowKey.of(self._catalog.relation(table.name), table)
        names = self._own.names_user(table, "a", part.column)
        tenant = self._own.in_tenant(table, "a")
        if FALSE in (names, tenant):
            return "", {}
        mine = self._own.mine(table, "a")
        where, params = [names, tenant, f"({mine}) IS NOT TRUE"], dict[str, str]()
        if self._after is not None:
            condition, params = key.after("a", self._after)
            where.append(condition)
        return self._select(key.text("a"), FALSE, table.name, where, key.order("a")), params

    def _large_objects(self, table: Table, mine: str, kept: str) -> tuple[str, dict[str, str]]:
        column = f"a.{q(table.large_object or '')}"
        exists = f"EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.oid = {column})"
        where, params = [f"{column} IS NOT NULL", mine, exists], {}
        if self._after is not None:
            where.append(f"{column} > (%(after)s::json ->> 0)::oid")
            params["after"] = self._after
        text = f"json_build_array({column}::text)::text"
        return self._select(f"DISTINCT ON ({column}) {text}", kept, table.name, where, column), params

    def _select(self, key: str, kept: str, name: str, where: list[str], order: str) -> str:
        table = self._catalog.quoted(name)
        return f"SELECT {key}, ({kept}) IS TRUE FROM {table} a WHERE {' AND '.join(where)} ORDER BY {order}"


def _as_runs(part: Part, rows: _Rows) -> Iterator[Run]:
    for kept, group in groupby(rows, key=itemgetter(1)):
        action = Action.ERASE
        if kept:
            action = Action.RETAIN
        elif part.column or (part.table.handling is Handling.ANONYMISE and not part.large_objects):
            action = Action.ANONYMISE
        yield Run(part.kind, part.table.category, action, [key for key, _ in group])
