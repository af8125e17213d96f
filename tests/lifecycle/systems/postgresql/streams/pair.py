"""Two regions' databases with the sample platform in them: tenant 17 in the first, a resident in the second."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from demo.platform.cast import customer
from demo.platform.seed import rows
from lifecycle.datamap.loader import load
from lifecycle.datamap.model import DataMap
from lifecycle.participation import install
from lifecycle.systems.base import Page
from lifecycle.systems.movable import Difference, Move, Side
from lifecycle.systems.postgresql.streams import identity
from lifecycle.systems.postgresql.streams.mover import PostgresqlMover

ROOT = Path(__file__).resolve().parents[5]
EAST, WEST = "us-east-1", "us-west-2"
TENANT, NEIGHBOUR, RESIDENT = "17", "117", "acme-eu"


@dataclass
class Region:
    """One region's database, asked as `app`."""

    name: str
    dsn: str = field(repr=False)
    reader_dsn: str = field(repr=False)
    mover_dsn: str = field(repr=False)
    admin_dsn: str = field(repr=False)
    connection: Any = None

    def run(self, statement: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def one(self, statement: str, params: Sequence[Any] | None = None) -> Any:
        return self.run(statement, params)[0][0]


@dataclass
class Pair:
    east: Region
    west: Region
    datamap: DataMap
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:10])

    @property
    def regions(self) -> tuple[Region, Region]:
        return self.east, self.west

    def move(self, tenant: str = TENANT, **place: str) -> Move:
        sides = [Side(r.name, {"dsn": r.dsn, "mover_dsn": r.mover_dsn, **place}) for r in self.regions]
        return Move(self.id, tenant, sides[0], sides[1])

    def mover(self, tenant: str = TENANT, **place: str) -> PostgresqlMover:
        return PostgresqlMover(self.move(tenant, **place), self.datamap)

    def routes(self, owner: str, *, moving: bool = True, tenant: str = TENANT) -> None:
        for region in self.regions:
            region.run(
                "INSERT INTO lifecycle.route (tenant_id, owner, moving) VALUES (%s, %s, %s) "
                "ON CONFLICT (tenant_id) DO UPDATE SET owner = excluded.owner, moving = excluded.moving",
                [tenant, owner, moving],
            )

    def prepare(self) -> None:
        for region in self.regions:
            identity.prepare(region.mover_dsn, self.datamap)


@contextmanager
def pair(stack: dict[str, Any], *, scale: int = 1) -> Iterator[Pair]:
    """Fresh databases, one in each region's cluster, dropped at the end with whatever streams are left."""
    datamap = load((ROOT / "demo" / "datamap.yaml").read_text())
    name = f"move_{uuid.uuid4().hex[:10]}"
    made = Pair(_region(stack, EAST, name), _region(stack, WEST, name), datamap)
    try:
        for region, first, tenants in zip(
            made.regions, (1, 10**15), ((TENANT, NEIGHBOUR), (RESIDENT,)), strict=True
        ):
            region.connection = psycopg2.connect(region.dsn)
            region.connection.autocommit = True
            region.run((ROOT / "demo" / "platform" / "schema.sql").read_text())
            region.run("SELECT setval('platform_ids', %s)", [first])
            install(region.dsn, region.name)
            for tenant in tenants:
                rows.seed(region.dsn, customer(tenant), scale if tenant == TENANT else 1)
        yield made
    finally:
        _end(made.regions, name)


def _region(stack: dict[str, Any], region: str, database: str) -> Region:
    def at(dsn: str) -> str:
        return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))

    page, admin = stack["regions"][region], stack["servers"][f"postgres-{region}"]["admin"]
    connection = psycopg2.connect(admin)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {database} OWNER app")
    connection.close()
    return Region(
        region, at(page["postgres"]), at(page["postgres_reader"]), at(page["postgres_mover"]), at(admin)
    )


def _end(regions: Sequence[Region], database: str) -> None:
    """Followers first: one that is left would take its slot again."""
    for region in regions:
        if region.connection is not None:
            region.connection.close()
        for (each,) in _admin(region, "SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid "
                              "WHERE d.datname = current_database()"):  # fmt: skip
            _admin(region, f"ALTER SUBSCRIPTION {each} DISABLE")
            _admin(region, f"ALTER SUBSCRIPTION {each} SET (slot_name = NONE)")
            _admin(region, f"DROP SUBSCRIPTION {each}")
    for region in regions:
        find = "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = current_database()"
        while left := _admin(region, find):
            for slot, pid in left:
                if pid:
                    _admin(region, f"SELECT pg_terminate_backend({pid}, 5000)")
                else:
                    _admin(region, f"SELECT pg_drop_replication_slot('{slot}')")
        away = replace(region, admin_dsn=urlunsplit(urlsplit(region.admin_dsn)._replace(path="/postgres")))
        _admin(away, f"DROP DATABASE {database} WITH (FORCE)")


def _admin(region: Region, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(region.admin_dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchall() if cursor.description else []
    connection.close()
    return found


class Writer(threading.Thread):
    """Live writes of the tenant at the owner until `stop()`: inserts, updates, deletes, in every kind of table."""

    def __init__(self, region: Region, rate: float = 200) -> None:
        super().__init__(daemon=True)
        self._region, self._pause, self._over = region, 1 / rate, threading.Event()
        self._name = uuid.uuid4().hex[:8]
        self.written = 0
        self.failed: BaseException | None = None

    def __enter__(self) -> Writer:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.join()
        if self.failed:
            raise self.failed

    def run(self) -> None:
        connection = psycopg2.connect(self._region.dsn)
        try:
            while not self._over.is_set():
                with connection, connection.cursor() as cursor:
                    self._write(cursor, self.written)
                self.written += 1
                time.sleep(self._pause)
        except BaseException as error:
            self.failed = error
        finally:
            connection.close()

    def _write(self, cursor: Any, n: int) -> None:
        document = f"live-{self._name}-{n}"
        cursor.execute(
            "INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256) VALUES (%s, %s, 'ada', 'live', %s, '')",
            [TENANT, document, f"k/{document}"],
        )
        cursor.execute(
            "INSERT INTO chunks (document_id, position, body) VALUES (%s, 0, 'live') RETURNING id", [document]
        )
        cursor.execute("INSERT INTO highlights (chunk_id, note) VALUES (%s, 'live')", [cursor.fetchone()[0]])
        cursor.execute("INSERT INTO feedback VALUES (%s, 'ada', %s, 'live')", [TENANT, n % 5])
        # One row that never stands still.
        cursor.execute(
            "UPDATE users SET full_name = %s WHERE tenant_id = %s AND user_id = 'bob'", [f"Bob {n}", TENANT]
        )
        if n % 3 == 0 and n > 6:
            old = f"live-{self._name}-{n - 6}"
            cursor.execute(
                "DELETE FROM highlights WHERE chunk_id IN (SELECT id FROM chunks WHERE document_id = %s)",
                [old],
            )
            cursor.execute("DELETE FROM chunks WHERE document_id = %s", [old])
            cursor.execute("DELETE FROM documents WHERE id = %s", [old])


def copied(mover: PostgresqlMover) -> None:
    """The whole copy, in slices as the engine makes them."""
    cursor: Any = None
    for _ in range(120):
        progress = mover.copy(cursor, 1.0)
        cursor = progress.cursor
        if cursor is None:
            return
    raise AssertionError(f"The copy did not end: {progress}")


def compared(mover: PostgresqlMover, seconds: float = 5.0) -> list[Difference]:
    """A whole comparison."""
    found: list[Difference] = []
    cursor: Any = None
    while True:
        page: Page[Difference] = mover.compare(cursor, seconds)
        found += page.entries
        cursor = page.cursor
        if cursor is None:
            return found


def snapshot(region: Region, tenants: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of these tenants in tables that have a tenant column."""
    tables = [
        row[0]
        for row in region.run(
            "SELECT table_name::text FROM information_schema.columns WHERE table_schema = 'public' "
            "AND column_name = 'tenant_id' AND table_name IN (SELECT tablename FROM pg_tables)"
        )
    ]
    return {
        t: sorted(region.run(f"SELECT x::text FROM {t} x WHERE tenant_id = ANY(%s)", [list(tenants)]))
        for t in tables
    }
