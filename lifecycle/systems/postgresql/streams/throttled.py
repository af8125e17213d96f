"""A copy that leaves the platform room: COPY at a limited rate in the slot's exported snapshot, then the subscription.

The snapshot lives as long as one connection, longer than a slice of work. So the copy is a process of its own, which
goes on when a worker ends; an advisory lock on the target says that it is alive, its application_name how far it is.
If it dies the copy begins anew: the slot and what was copied go first. Started as a module; its task comes by stdin.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg2
from psycopg2.extras import LogicalReplicationConnection

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.movable import Move, Progress, Side
from lifecycle.systems.postgresql.session import plain, q
from lifecycle.systems.postgresql.streams import cleaning
from lifecycle.systems.postgresql.streams.database import Database, literal
from lifecycle.systems.postgresql.streams.flow import FORWARD, Flow, drop_slot, stream_name
from lifecycle.systems.postgresql.streams.tables import Moved

_CHANGE = ("origin", "seq", "tenant_id", "user_id", "store", "key", "op", "version", "sha256", "epoch", "at")
_ALIVE = "SELECT application_name, pid FROM pg_stat_activity WHERE application_name LIKE %s AND datname = current_database()"
_running: dict[str, subprocess.Popen[bytes]] = {}


def copy(
    move: Move, flow: Flow, moved: Sequence[Moved], limit: int, until: float, state: dict[str, Any]
) -> Progress:
    """Starts or watches the copy until `until` (monotonic). A cursor of None: the subscription follows now.

    Raises Transient when the copy ended without finishing; it begins anew on the next call.
    """
    name = stream_name(move.id, "copy")
    total = sum(rows for rows, _ in state["totals"].values())
    if _progress(flow.target, name) is None and not flow.subscribed():
        _start(name, move, moved, limit)
    begun = time.monotonic()
    while True:
        if flow.subscribed():
            return Progress(None, total, total, "rows", sum(size for _, size in state["totals"].values()))
        at = _progress(flow.target, name)
        child = _running.get(name)
        # A child says its name only once it is connected.
        if at is None and (child is None or child.poll() is not None) and time.monotonic() - begun > 2:
            _running.pop(name, None)
            if not flow.subscribed():
                raise Transient("The throttled copy ended before it was complete; it begins anew.")
        if time.monotonic() >= until:
            rows, size = at or (0, 0)
            return Progress(dict(state), rows, total, "rows", size, f"at most {limit} rows a second")
        time.sleep(0.1)


def stop(move: Move, target: Database) -> None:
    """Ends a copy that runs."""
    name = stream_name(move.id, "copy")
    for _, pid in target.rows(_ALIVE, [name.replace("_", "\\_") + " %"]):
        target.rows("SELECT pg_terminate_backend(%s)", [pid])
    child = _running.pop(name, None)
    if child is not None:
        child.kill()
        child.wait()


def _progress(target: Database, name: str) -> tuple[int, int] | None:
    rows = target.rows(_ALIVE, [name.replace("_", "\\_") + " %"])
    if not rows:
        return None
    _, done, size = str(rows[0][0]).rsplit(" ", 2)
    return int(done), int(size)


def _start(name: str, move: Move, moved: Sequence[Moved], limit: int) -> None:
    known = _running.get(name)
    if known is not None and known.poll() is None:
        return
    task = {
        "id": move.id,
        "tenant": move.tenant,
        "sides": [[side.region, side.place["mover_dsn"]] for side in (move.source, move.target)],
        "schema": moved[0].schema,
        "tables": [[t.name, t.tenant, list(t.columns), sorted(t.generated)] for t in moved],
        "limit": limit,
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "lifecycle.systems.postgresql.streams.throttled"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if child.stdin is not None:
        child.stdin.write(json.dumps(task).encode())
        child.stdin.close()
    _running[name] = child


class _Pipe(io.RawIOBase):
    """What COPY writes, at most `limit` lines a second, into a pipe that the other COPY reads."""

    def __init__(self, out: int, limit: int, say: Any) -> None:
        self._out, self._limit, self._say = out, limit, say
        self._begun = time.monotonic()
        self.rows = self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        page = bytes(data)
        self.rows, self.size = self.rows + page.count(b"\n"), self.size + len(page)
        ahead = self.rows / self._limit - (time.monotonic() - self._begun)
        if ahead > 0.01:
            time.sleep(ahead)
        os.write(self._out, page) if len(page) <= 65536 else self._all(page)
        self._say(self.rows, self.size)
        return len(page)

    def _all(self, page: bytes) -> None:
        while page:
            page = page[os.write(self._out, page) :]


class _Copier:
    """One copy, from the slot to the subscription."""

    def __init__(self, task: dict[str, Any]) -> None:
        (source, source_dsn), (target, target_dsn) = task["sides"]
        place = {"mover_dsn": source_dsn}, {"mover_dsn": target_dsn}
        self.move = Move(task["id"], task["tenant"], Side(source, place[0]), Side(target, place[1]))
        self.name, self.task = stream_name(task["id"], "copy"), task
        self.source = Database(source_dsn)
        self.target, self.book = Database(target_dsn), Database(target_dsn, name=f"{self.name} 0 0")
        self.flow = Flow(stream_name(task["id"], FORWARD), task["tenant"], self.source, self.target)
        self.rows = self.size = 0
        self.said = 0.0

    def run(self) -> None:
        lock = self.book.one("SELECT pg_try_advisory_lock(hashtextextended(%s, 21))", [self.name])
        if not lock or self.flow.subscribed() is not None:
            return
        self._clear()
        keeper, snapshot = self._slot()
        try:
            for table, tenant, columns, generated in self.task["tables"]:
                names = [c for c in columns if c not in generated]
                self._copy(f"{q(self.task['schema'])}.{q(table)}", tenant, names, snapshot)
            self._copy("lifecycle.change", "tenant_id", _CHANGE, snapshot)
        finally:
            keeper.close()
        self.flow.subscribe(copy=False)

    def _clear(self) -> None:
        """What an interrupted copy left. The plan refused a target that held rows of the tenant before."""
        owner = self.target.one("SELECT owner FROM lifecycle.route WHERE tenant_id = %s", [self.move.tenant])
        if owner == self.move.target.region:
            raise Permanent("The target owns the tenant; nothing is copied over it.")
        drop_slot(self.source, self.flow.name)
        for table, tenant, _, _ in reversed(self.task["tables"]):
            with cleaning.under_origin(self.target, self.move) as cursor:
                cursor.execute(
                    f"DELETE FROM {q(self.task['schema'])}.{q(table)} WHERE {q(tenant)} = %s",
                    [self.move.tenant],
                )
        cleaning.forget_bookkeeping(self.target, self.move)

    def _slot(self) -> tuple[Any, str]:
        """The slot with its snapshot, which lasts as long as this connection does nothing else."""
        keeper = psycopg2.connect(self.source.dsn, connection_factory=LogicalReplicationConnection)
        with keeper.cursor() as cursor:
            cursor.execute(
                f"CREATE_REPLICATION_SLOT {plain(q(self.flow.name))} LOGICAL pgoutput (SNAPSHOT 'export')"
            )
            row = cursor.fetchone()
        if row is None:
            raise Transient("The slot was made without a snapshot; the copy begins anew.")
        return keeper, str(row[2])

    def _copy(self, table: str, tenant: str, columns: Sequence[str], snapshot: str) -> None:
        names = ", ".join(q(c) for c in columns)
        reader, writer = os.pipe()
        done = (self.rows, self.size)
        pipe = _Pipe(writer, self.task["limit"], lambda rows, size: self._say(done[0] + rows, done[1] + size))
        failed: list[BaseException] = []

        def read() -> None:
            try:
                with self.source.transaction() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    cursor.execute(f"SET TRANSACTION SNAPSHOT {plain(literal(snapshot))}")
                    where = f"{q(tenant)}::text = {literal(self.move.tenant)}"
                    cursor.copy_expert(
                        plain(f"COPY (SELECT {names} FROM {table} WHERE {where}) TO STDOUT"), pipe, 16384
                    )
            except BaseException as error:  # the writer must not commit half a table
                failed.append(error)
            finally:
                os.close(writer)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        with cleaning.under_origin(self.target, self.move) as cursor, os.fdopen(reader, "rb") as incoming:
            cursor.copy_expert(plain(f"COPY {table} ({names}) FROM STDIN"), incoming, 16384)
            thread.join()
            if failed:
                raise failed[0]
        self.rows, self.size = done[0] + pipe.rows, done[1] + pipe.size

    def _say(self, rows: int, size: int) -> None:
        if time.monotonic() - self.said > 0.5:
            self.said = time.monotonic()
            self.book.rows("SELECT set_config('application_name', %s, false)", [f"{self.name} {rows} {size}"])


def main() -> None:
    """Carries out the task of stdin. Errors end it; whoever watches begins it anew."""
    _Copier(json.loads(sys.stdin.read())).run()


if __name__ == "__main__":
    main()
