"""The disk under the local Datadog: SQLite, committed before a request is acknowledged."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demo.servers.datadog.query import Event

HISTORY_MS = 90 * 24 * 3600 * 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deletion (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS point (metric TEXT, timestamp_s INTEGER, value REAL, tags TEXT);
CREATE INDEX IF NOT EXISTS point_by_time ON point (metric, timestamp_s);
"""


@dataclass
class Deletion:
    """One request to delete data. Times in milliseconds since the epoch."""

    product: str
    query: str
    from_ms: int
    to_ms: int
    displayed_total: int
    indexes: list[str]
    status: str
    created_ms: int
    starting_ms: int
    updated_ms: int
    total: int
    id: int = 0


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


class Store:
    """Events in memory and on disk; deletion requests and metric points on disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "datadog.sqlite3")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)
        rows = self._db.execute("SELECT body FROM event ORDER BY rowid")
        events = (Event(**json.loads(body)) for (body,) in rows)
        self.events = {event.id: event for event in events}

    def add_events(self, events: Iterable[Event]) -> None:
        """Keep events that have arrived."""
        arrived = list(events)
        with self._db:
            self._db.executemany(
                "INSERT INTO event VALUES (?, ?)",
                [(event.id, json.dumps(asdict(event))) for event in arrived],
            )
        self.events.update((event.id, event) for event in arrived)

    def delete_events(self, ids: Iterable[str], deletion: Deletion) -> None:
        """Delete events and record that their deletion request is done, in one transaction."""
        gone = list(ids)
        with self._db:
            self._db.executemany("DELETE FROM event WHERE id = ?", ((each,) for each in gone))
            self._update(deletion)
        for each in gone:
            del self.events[each]

    def add_deletion(self, deletion: Deletion) -> None:
        """Keep a new deletion request and give it its id."""
        with self._db:
            added = self._db.execute(
                "INSERT INTO deletion (body) VALUES (?)", (json.dumps(asdict(deletion)),)
            )
            deletion.id = int(added.lastrowid or 0)

    def save_deletion(self, deletion: Deletion) -> None:
        """Keep a change of a deletion request."""
        with self._db:
            self._update(deletion)

    def _update(self, deletion: Deletion) -> None:
        self._db.execute(
            "UPDATE deletion SET body = ? WHERE id = ?", (json.dumps(asdict(deletion)), deletion.id)
        )

    def deletions(self) -> list[Deletion]:
        """The history of 90 days, newest first."""
        rows = self._db.execute("SELECT id, body FROM deletion ORDER BY id DESC")
        found = [Deletion(**{**json.loads(body), "id": number}) for number, body in rows]
        oldest = now_ms() - HISTORY_MS
        return [deletion for deletion in found if deletion.created_ms >= oldest]

    def active(self) -> list[Deletion]:
        """Requests that are pending or running, oldest first."""
        rows = self._db.execute(
            "SELECT id, body FROM deletion WHERE json_extract(body, '$.status') IN ('pending', 'running')"
            " ORDER BY id"
        )
        return [Deletion(**{**json.loads(body), "id": number}) for number, body in rows]

    def add_points(self, points: Iterable[tuple[str, int, float, list[str]]]) -> None:
        """Keep metric points: metric, seconds since the epoch, value, tags."""
        rows = [(metric, at, value, json.dumps(sorted(tags))) for metric, at, value, tags in points]
        with self._db:
            self._db.executemany("INSERT INTO point VALUES (?, ?, ?, ?)", rows)

    def points(self, metric: str, from_s: int, to_s: int) -> list[tuple[int, float, list[str]]]:
        """Points of a metric in a time span (both ends included): seconds, value, tags."""
        rows = self._db.execute(
            "SELECT timestamp_s, value, tags FROM point WHERE metric = ? AND timestamp_s BETWEEN ? AND ?"
            " ORDER BY timestamp_s",
            (metric, from_s, to_s),
        )
        return [(at, value, _tags(tags)) for at, value, tags in rows]


def _tags(text: str) -> list[str]:
    tags: list[Any] = json.loads(text)
    return [str(tag) for tag in tags]
