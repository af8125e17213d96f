"""PostgreSQL: finds and destroys a subject's rows, children before parents, in key-ordered batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from lifecycle.datamap.model import DataMap, Handling, Table
from lifecycle.systems.base import (
    BatchOver,
    Gate,
    Item,
    Page,
    Planted,
    Scope,
    Subject,
    Tally,
)
from lifecycle.systems.items import Items, Run
from lifecycle.systems.postgresql import catalog as catalogs
from lifecycle.systems.postgresql import closing, learning, planting, redaction
from lifecycle.systems.postgresql.catalog import Catalog
from lifecycle.systems.postgresql.discovery import LARGE_OBJECT, Discovery, parts
from lifecycle.systems.postgresql.lanes import LANES, LEAST, Lanes
from lifecycle.systems.postgresql.ownership import Ownership
from lifecycle.systems.postgresql.rows import Rows
from lifecycle.systems.postgresql.session import Session, place_dsn, translated

BATCH = 10_000


def connect(place: Mapping[str, str], datamap: DataMap) -> PostgresqlEraser:
    """An eraser of the database at `place["dsn"]`."""
    return PostgresqlEraser(Session(place_dsn(place, "dsn")), datamap)


class PostgresqlEraser:
    """See `lifecycle.systems.base.Eraser`. Kinds of items: a table, `table.column` (a user named in a row that stays),
    `large_object`, and a materialised view (refreshed)."""

    name = "postgresql"
    batch = BATCH
    clean_passes = 1

    def __init__(self, session: Session, datamap: DataMap) -> None:
        self.session = session
        self.relations = datamap.relations
        self._catalog: Catalog | None = None
        self._discovery: Discovery | None = None
        self._closed: set[str] = set()
        self._touched: set[str] = set()
        self._lanes = Lanes()

    @property
    def method(self) -> str:
        version = self.session.connection().server_version
        return (
            f"PostgreSQL {version // 10000}.{version % 10000}: rows deleted in key-ordered transactions, children "
            "before parents; records to keep anonymised; large objects unlinked; materialised views refreshed; "
            "dead rows vacuumed"
        )

    @property
    def catalog(self) -> Catalog:
        if self._catalog is None:
            with self.session.transaction() as cursor:
                elsewhere = [table.name for table in self.relations.tables if table.elsewhere]
                self._catalog = catalogs.read(cursor, self.relations.schema, elsewhere)
        return self._catalog

    def discover(self, scope: Scope, cursor: Any) -> Page[Item]:
        """Pages of 10,000; a page that follows the one before comes from the same server-side cursor."""
        if cursor is None or self._discovery is None or not self._discovery.is_at(cursor):
            self._end_discovery()
            self._discovery = Discovery(
                self.session, self.catalog, self.relations, self.ownership(scope), cursor
            )
        with translated():
            page = self._discovery.page()
        if page.cursor is None:
            self._end_discovery()
        return page

    def erase(self, scope: Scope, items: Sequence[Item], gate: Gate) -> Tally:
        """One transaction per run of items of one kind; at the deadline what was committed is returned."""
        tally = Tally()
        work = partial(self._transaction, scope)
        try:
            for run in _runs(items):
                if self._side_by_side(run):
                    done = self._lanes.carry_out(run, gate, work)
                else:
                    done = work(run, gate, LANES[0])
                tally.taken += done.taken
                tally.erased += done.erased
                tally.anonymised += done.anonymised
                if done.taken < len(run.keys):
                    break
        except BatchOver:
            if not tally.taken:
                raise
        return tally

    def _side_by_side(self, run: Run) -> bool:
        """Whether the halves of a run can go in two transactions: plain rows, none of which points to another."""
        if len(run.keys) < 2 * LEAST or any(key[:1] == "{" for key in run.keys):
            return False
        table, column = self._target(run.kind)
        if table is None or column or table.handling is not Handling.ERASE:
            return False
        return all(key.child != key.parent for key in self.catalog.referencing(run.kind))

    def _transaction(self, scope: Scope, run: Run, gate: Gate, use: str) -> Tally:
        ownership = self.ownership(scope)
        with self.session.batch(gate, use) as cursor:
            rows = Rows(self.catalog, ownership, cursor)
            self._carry_out(rows, run)
        self._touched |= rows.done.touched
        self._closed -= rows.done.touched
        return Tally(taken=len(run.keys), erased=rows.done.erased, anonymised=rows.done.anonymised)

    def finish(self, scope: Scope, gate: Gate) -> Tally:
        """Refreshes the materialised views over what was erased, and vacuums: bounded, and what is done once is done."""
        self._end_discovery()
        return closing.close(self.session, self.catalog, self.relations, gate, self._touched, self._closed)

    def redact(self, scope: Scope, item: Item, gate: Gate) -> Tally:
        """Takes the subject's identifiers out of one row that is somebody else's and stays."""
        catalog = self.catalog
        with self.session.batch(gate) as cursor:
            changed = redaction.redact(cursor, catalog, self.relations, scope, item)
        return Tally(taken=1, anonymised=changed)

    def shapes(self, scope: Scope) -> Sequence[str]:
        return planting.shapes(self.catalog, self.relations, scope)

    def plant(self, scope: Scope, shape: str, marker: str) -> Planted:
        catalog = self.catalog
        with self.session.transaction() as cursor:
            return planting.plant(cursor, catalog, self.relations, scope, shape, marker)

    def lift(self, planted: Planted) -> None:
        catalog = self.catalog
        with self.session.transaction() as cursor:
            planting.lift(cursor, catalog, self.relations, planted)

    def anchors(self, scope: Scope) -> Mapping[str, tuple[str, ...]]:
        own = self.ownership(scope)
        with self.session.transaction("learn") as cursor:
            return learning.anchors(cursor, own.catalog, own)

    def identify(self, scope: Scope) -> Subject:
        own = self.ownership(scope)
        with self.session.transaction("learn") as cursor:
            return learning.identify(cursor, own.catalog, own)

    def close(self) -> None:
        self._end_discovery()
        self._lanes.close()
        self.session.close()

    def ownership(self, scope: Scope) -> Ownership:
        return Ownership(self.catalog, self.relations, scope)

    def _end_discovery(self) -> None:
        if self._discovery is not None:
            self._discovery.close()
        self._discovery = None
        self.session.end("read")

    def _carry_out(self, rows: Rows, run: Run) -> None:
        kind, keys = run.kind, run.keys
        table, column = self._target(kind)
        if kind == LARGE_OBJECT:
            rows.unlink(keys)
        elif table is not None and column:
            rows.detach(table, column, keys)
        elif table is not None and table.handling is Handling.ANONYMISE:
            rows.anonymise(table, keys)
            for item in run:
                if item.key.startswith("{"):
                    redaction.redact(rows.cursor, self.catalog, self.relations, rows.own.scope, item)
        elif kind in self.catalog.relations and self.catalog.relations[kind].kind == "m":
            rows.done.erased += closing.refresh_inside(rows.cursor, self.catalog, kind)
        else:
            rows.erase(kind, keys)

    def _target(self, kind: str) -> tuple[Table | None, str]:
        """The table, and the column to detach, that an item's kind names."""
        for part in parts(self.catalog, self.relations):
            if part.kind == kind:
                return part.table, part.column
        return None, ""


def _runs(items: Sequence[Item]) -> Iterator[Run]:
    for run in Items.of(items).runs:
        for start in range(0, len(run.keys), BATCH):
            yield run.part(start, start + BATCH)
