"""What the orchestrator wants (table lifecycle_order) and what we tell it. Plain SQL; the database may be dead.

A thread of its own talks to the control database, so that one that hangs never holds up the watch. What is read is kept
in the state folder; what is to be told waits here, the newest of each kind, until the database is there again.
"""

from __future__ import annotations

import json
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2 import extensions
from psycopg2.extras import Json

log = logging.getLogger("lifecycle.watchdog")

_POLL_S = 0.2
_READINGS_KEPT = 600
_READ = """
SELECT o.migration_id, o.tenant_id, o.epoch, o.share, o.owner, o.watched, o.settings, o.latched, o.closed,
       m.source_region, m.target_region, m.soak
FROM lifecycle_order o JOIN lifecycle_migration m ON m.id = o.migration_id
WHERE NOT o.closed OR o.done_epoch < o.epoch
"""
_THIN = """
DELETE FROM lifecycle_reading WHERE at < now() - interval '1 hour'
  AND (extract(epoch FROM at)::bigint % 60) <> 0 AND at > now() - interval '2 hours'
"""


@dataclass(frozen=True, slots=True)
class Order:
    """One row: what shall be so for one move. `settings` holds references to places, never a secret."""

    migration: str
    tenant: str
    epoch: int
    share: int
    owner: str
    watched: bool
    settings: Mapping[str, Any] = field(repr=False)
    latched: bool
    closed: bool
    blue: str
    green: str
    soak: str


@dataclass(frozen=True, slots=True)
class Word:
    """One thing to tell: `statement` with `parameters`; `key` says which older word it replaces."""

    key: tuple[str, str]
    statement: str
    parameters: tuple[Any, ...]


class Desk:
    """The control database, seen from the watch. Every method returns at once."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._lock = threading.Lock()
        self._orders: list[Order] | None = None
        self._read_at = 0.0
        self._words: dict[tuple[str, str], Word] = {}
        self._readings: deque[tuple[str, datetime, dict[str, Any]]] = deque(maxlen=_READINGS_KEPT)
        self._latched: dict[str, int] = {}
        self._beat: dict[str, Any] = {}
        self._stop = threading.Event()
        self.changed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Begins to talk."""
        self._thread.start()

    def orders(self) -> list[Order] | None:
        """The newest orders; None until they were read once."""
        with self._lock:
            return self._orders

    def age(self) -> float:
        """Seconds since orders were last read."""
        return time.monotonic() - self._read_at

    def latch_written_at(self, migration: str) -> int | None:
        """The order's epoch at which our latch came to stand in the database; None: not yet."""
        with self._lock:
            return self._latched.get(migration)

    def forget_latch(self, migration: str) -> None:
        """A person decided anew."""
        with self._lock:
            self._latched.pop(migration, None)

    def tell_outcome(self, order: Order, outcome: Mapping[str, Any]) -> None:
        """What became of an order; only `state` done counts it as done."""
        done = outcome["state"] == "done"
        self._say(
            Word(
                ("outcome", order.migration),
                "UPDATE lifecycle_order SET outcome = %s, done_epoch = greatest(done_epoch, %s),"
                " done_at = CASE WHEN %s THEN now() ELSE done_at END WHERE migration_id = %s",
                (Json(dict(outcome)), order.epoch if done else 0, done, order.migration),
            )
        )

    def tell_latch(self, migration: str, reason: str) -> None:
        """We tripped: nobody raises weights again without a new decision."""
        self._say(
            Word(
                ("latch", migration),
                "UPDATE lifecycle_order SET latched = true, latch_reason = %s, latched_at = now()"
                " WHERE migration_id = %s RETURNING epoch",
                (reason[:500], migration),
            )
        )

    def tell_reading(self, migration: str, data: dict[str, Any]) -> None:
        """One second's reading."""
        with self._lock:
            self._readings.append((migration, datetime.now(UTC), data))

    def tell_alive(self, detail: dict[str, Any]) -> None:
        """We are alive."""
        self._beat = detail

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()

    def _say(self, word: Word) -> None:
        with self._lock:
            self._words[word.key] = word

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._talk()
            except (psycopg2.Error, OSError) as failure:
                log.warning(
                    "The control database does not answer (%s); orders stay as they are.",
                    type(failure).__name__,
                )
                self._stop.wait(1.0)

    def _talk(self) -> None:
        connection = psycopg2.connect(
            self._dsn,
            connect_timeout=2,
            options="-c statement_timeout=3000",
            application_name="watchdog orders",
            tcp_user_timeout=3000,
        )
        try:
            connection.set_isolation_level(extensions.ISOLATION_LEVEL_AUTOCOMMIT)
            cursor = connection.cursor()
            cursor.execute("LISTEN lifecycle_order")
            beat = thinned = 0.0
            while not self._stop.is_set():
                self._read(cursor)
                self._tell(cursor)
                now = time.monotonic()
                if now - beat >= 1.0:
                    beat = now
                    self._write_beat(cursor)
                if now - thinned >= 60:
                    thinned = now
                    cursor.execute(_THIN)
                # A notice that came while another statement ran was read with it: nothing would wake us.
                if connection.notifies or select.select([connection], [], [], _POLL_S)[0]:
                    connection.poll()
                    connection.notifies.clear()
        finally:
            connection.close()

    def _read(self, cursor: Any) -> None:
        cursor.execute(_READ)
        found = [
            Order(m, t, epoch, share, owner, watched, settings, latched, closed, blue, green, soak)
            for m, t, epoch, share, owner, watched, settings, latched, closed, blue, green, soak in cursor.fetchall()
        ]
        with self._lock:
            news = found != self._orders
            self._orders = found
            self._read_at = time.monotonic()
        if news:
            self.changed.set()

    def _tell(self, cursor: Any) -> None:
        with self._lock:
            words, readings = list(self._words.values()), list(self._readings)
        for word in words:
            cursor.execute(word.statement, word.parameters)
            rows = cursor.fetchall() if cursor.description else []
            with self._lock:
                if self._words.get(word.key) is word:
                    del self._words[word.key]
                if word.key[0] == "latch" and rows:
                    self._latched[word.key[1]] = rows[0][0]
        if readings:
            # A move that was deleted meanwhile has no readings any more.
            cursor.execute(
                "INSERT INTO lifecycle_reading (migration_id, at, data) SELECT u.migration, u.at, u.data FROM"
                " unnest(%s::text[], %s::timestamptz[], %s::jsonb[]) u (migration, at, data)"
                " WHERE EXISTS (SELECT FROM lifecycle_migration m WHERE m.id = u.migration)",
                [
                    [each[0] for each in readings],
                    [each[1] for each in readings],
                    [json.dumps(each[2]) for each in readings],
                ],
            )
            with self._lock:
                for _ in readings:
                    if self._readings:
                        self._readings.popleft()

    def _write_beat(self, cursor: Any) -> None:
        if self._beat:
            cursor.execute(
                "INSERT INTO lifecycle_beat (name, at, pid, detail) VALUES ('watchdog', now(), %s, %s)"
                " ON CONFLICT (name) DO UPDATE SET at = excluded.at, pid = excluded.pid, detail = excluded.detail",
                [os.getpid(), Json(self._beat)],
            )
