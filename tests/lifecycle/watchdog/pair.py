"""Two databases, one in each region's real cluster, that replicate one tenant both ways like a move."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from psycopg2 import sql

from lifecycle.participation.installing import install
from lifecycle.watchdog.flip import Change, Limits, Side
from lifecycle.watchdog.leases import Leases
from lifecycle.watchdog.lines import Line

BLUE, GREEN = "us-east-1", "us-west-2"
TENANT = "17"
_NOTES = "CREATE TABLE notes (tenant_id text, id text, body text DEFAULT '', PRIMARY KEY (tenant_id, id))"


@dataclass
class Pair:
    """`dsn` by region; streams `to_green` and `to_blue` are subscriptions of that name."""

    dsn: dict[str, str]
    name: str
    epoch: int = 1

    def ask(self, region: str, statement: str, *parameters: Any) -> list[Any]:
        with closing(psycopg2.connect(self.dsn[region])) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []

    def route(self, owner: str, epoch: int, lease: str = "infinity") -> None:
        """Both sides say so, as after a finished flip."""
        self.epoch = epoch
        for region in self.dsn:
            other = GREEN if region == BLUE else BLUE
            self.ask(
                region,
                "INSERT INTO lifecycle.route (tenant_id, owner, epoch, lease_until, other, moving)"
                " VALUES (%s, %s, %s, %s, %s, true) ON CONFLICT (tenant_id) DO UPDATE"
                " SET owner = excluded.owner, epoch = excluded.epoch, lease_until = excluded.lease_until",
                TENANT,
                owner,
                epoch,
                lease,
                other,
            )

    def stream(self, to: str) -> str:
        return f"{self.name}_{'fwd' if to == GREEN else 'rev'}"

    def side(self, region: str, line: Line | None = None) -> Side:
        return Side(region, line or Line(self.dsn[region], name=self.name), Leases())

    def change(self, to: str, epoch: int, **given: Any) -> Change:
        """A change of owner to `to`; `old` and `new` may be given."""
        old = GREEN if to == BLUE else BLUE
        values: dict[str, Any] = {
            "tenant": TENANT,
            "old": self.side(old),
            "new": self.side(to),
            "epoch": epoch,
            "lease": to == GREEN,
            "stream": self.stream(to),
            "lossy": to == BLUE,
            "limits": Limits(),
        }
        return Change(**(values | given))

    def accepts(self, region: str) -> bool:
        """Whether the region takes a write of the tenant now."""
        try:
            self.ask(region, "SELECT lifecycle.begin_write(%s)", TENANT)
        except psycopg2.Error as refused:
            assert refused.pgcode in ("LM001", "LM002"), refused
            return False
        return True

    def owners(self) -> list[str]:
        return [region for region in self.dsn if self.accepts(region)]

    def notes(self, region: str) -> set[str]:
        return {row[0] for row in self.ask(region, "SELECT id FROM notes WHERE tenant_id = %s", TENANT)}


@dataclass
class Writers:
    """Threads that write wherever the tenant may be written, and note what was acknowledged, when and where."""

    pair: Pair
    threads: int
    rate: float = 0.0
    work_s: float = 0.0
    acknowledged: list[tuple[str, str, float]] = field(default_factory=list)
    unknown: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _running: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Writers:
        self._running = [threading.Thread(target=self._write, daemon=True) for _ in range(self.threads)]
        for each in self._running:
            each.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for each in self._running:
            each.join()

    def pause(self, since: float) -> float:
        """The longest time without an acknowledged write, in seconds, from `since` on."""
        at = sorted(moment for _, _, moment in self.acknowledged if moment >= since)
        return max(b - a for a, b in itertools.pairwise(at))

    def _write(self) -> None:
        lines = {region: psycopg2.connect(dsn) for region, dsn in self.pair.dsn.items()}
        region = BLUE
        while not self._stop.is_set():
            began = time.monotonic()
            region = self._once(lines, region)
            left = self.threads / self.rate - (time.monotonic() - began) if self.rate else 0
            self._stop.wait(max(left, 0))
        for each in lines.values():
            each.close()

    def _once(self, lines: dict[str, Any], region: str) -> str:
        """One write; returns where to go next."""
        note, line = secrets.token_hex(8), lines[region]
        try:
            with line.cursor() as cursor:
                cursor.execute("SELECT lifecycle.begin_write(%s)", [TENANT])
                cursor.execute("INSERT INTO notes (tenant_id, id) VALUES (%s, %s)", [TENANT, note])
                if self.work_s:
                    time.sleep(self.work_s)
                line.commit()
            self.acknowledged.append((note, region, time.monotonic()))
        except psycopg2.Error as failure:
            if failure.pgcode is None or line.closed:
                self.unknown += 1
                lines[region] = psycopg2.connect(self.pair.dsn[region])
                return region
            line.rollback()
            if failure.pgcode == "LM001":
                time.sleep(0.001)
                return GREEN if region == BLUE else BLUE
        return region


@contextmanager
def made(stack: dict[str, Any], where: str = f"tenant_id = '{TENANT}'") -> Iterator[Pair]:
    """A pair on the stack's clusters, dropped at the end. `where`: whose rows are replicated."""
    name = f"pair_{secrets.token_hex(4)}"
    admin = {region: stack["servers"][f"postgres-{region}"]["admin"] for region in (BLUE, GREEN)}
    # As on a platform: the application owns its tables, the watchdog works with the role `mover`.
    app = {region: _named(stack["regions"][region]["postgres"], name) for region in admin}
    pair = Pair({region: _named(stack["regions"][region]["postgres_mover"], name) for region in admin}, name)
    for region, each in admin.items():
        _say(each, sql.SQL("CREATE DATABASE {} OWNER app").format(sql.Identifier(name)))
        install(app[region], region)
        _say(app[region], sql.SQL(_NOTES))
        tables = ", ".join(
            f"{table} WHERE ({where})" for table in ("notes", "lifecycle.change", "lifecycle.probe")
        )
        pair.ask(
            region, f"CREATE PUBLICATION moved FOR TABLE {tables} WITH (publish = 'insert, update, delete')"
        )
    for to, source in ((GREEN, BLUE), (BLUE, GREEN)):
        pair.ask(
            to,
            f"CREATE SUBSCRIPTION {pair.stream(to)} CONNECTION '{pair.dsn[source]}' PUBLICATION moved"
            " WITH (origin = none, copy_data = false, synchronous_commit = on)",
        )
    try:
        yield pair
    finally:
        for to in (GREEN, BLUE):
            pair.ask(to, f"ALTER SUBSCRIPTION {pair.stream(to)} ENABLE")
            pair.ask(to, f"DROP SUBSCRIPTION {pair.stream(to)}")
        for each in admin.values():
            _say(each, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _named(dsn: str, name: str) -> str:
    return dsn.rsplit("/", 1)[0] + f"/{name}"


def _say(dsn: str, statement: sql.Composable) -> None:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
