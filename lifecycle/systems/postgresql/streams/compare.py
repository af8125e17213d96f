"""Rows of the follower against the owner's: sums over ranges of keys on both sides at once, narrowed to keys.

What differs is looked at again after a watermark (a position of the owner's log) has been applied by the follower, and
a row that keeps changing is held for a moment (FOR SHARE) while its changes arrive: so live writes are never taken for
faults. Kinds: missing; stale (there with other content, whatever the reason: rows carry no version, so a corrupted row
is stale); resurrected (the owner noted its deletion); foreign (the owner never had it).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from lifecycle.systems.base import Page, Transient
from lifecycle.systems.movable import Difference, Kind
from lifecycle.systems.postgresql.streams.database import Database, run
from lifecycle.systems.postgresql.streams.flow import Flow
from lifecycle.systems.postgresql.streams.hashing import Hashed, Range
from lifecycle.systems.postgresql.streams.tables import Moved

STORE = "postgresql"
RANGE = 10_000  # rows of one sum
SMALL = 500  # rows of a range whose keys are read
_MOST = 4_000  # differences of one page
_LOOKS = 5
_WAIT = 10.0


def compare(flow: Flow, moved: Sequence[Moved], cursor: Any, seconds: float) -> Page[Difference]:
    """One slice: differences found in at most about `seconds`. The cursor names a table and the last key compared."""
    until = time.monotonic() + seconds
    found: list[Difference] = []
    at, low = (int(cursor["table"]), cursor["low"]) if cursor else (0, None)
    with _pair(flow) as pair:
        while at < len(moved):
            table = Hashed(moved[at], flow.tenant)
            start = tuple(low) if low is not None else None
            part = Range(start, pair.boundary(table, start))
            found += confirm(flow, table, list(pair.differing(table, part)), pair)
            low = list(part.high) if part.high is not None else None
            at += part.high is None
            if at < len(moved) and (time.monotonic() >= until or len(found) >= _MOST):
                return Page(found, {"table": at, "low": low})
    return Page(found)


def compare_keys(flow: Flow, moved: Sequence[Moved], keys: dict[str, list[str]]) -> list[Difference]:
    """These keys by table only: what changed since a clean pass, under the fence. Its cost follows their number."""
    found: list[Difference] = []
    with _pair(flow) as pair:
        for table in moved:
            wanted = sorted(set(keys.get(table.name, ())))
            for start in range(0, len(wanted), SMALL):
                found += confirm(flow, Hashed(table, flow.tenant), wanted[start : start + SMALL], pair)
    return found


class Pair:
    """Both databases, asked at once."""

    def __init__(self, source: Database, target: Database) -> None:
        self.source, self.target = source, target
        self._pool = ThreadPoolExecutor(2)

    def both(self, ask: Any, *more: Any) -> tuple[Any, Any]:
        """The same question to both; the answers of source and target."""
        one = self._pool.submit(ask, self.source, *more)
        other = self._pool.submit(ask, self.target, *more)
        return one.result(), other.result()

    def boundary(self, table: Hashed, low: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The end of the next range. A table without a key, or of the tenant's key alone, is one range."""
        return table.boundary(self.source, low, RANGE) if table.table.order else None

    def differing(self, table: Hashed, part: Range) -> Iterator[str]:
        """Keys of the range that differ at this moment."""
        if table.table.key:
            mine, theirs = self.both(table.sum, part)
            if mine == theirs:
                return
            if max(mine.rows, theirs.rows) > SMALL and table.table.order:
                fuller = self.source if mine.rows >= theirs.rows else self.target
                middle = table.boundary(fuller, part.low, max(mine.rows, theirs.rows) // 2)
                if middle is not None and middle != part.high:
                    yield from self.differing(table, Range(part.low, middle))
                    yield from self.differing(table, Range(middle, part.high))
                    return
        mine, theirs = self.both(table.rows, part)
        yield from sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))

    def close(self) -> None:
        self._pool.shutdown()
        self.source.close()
        self.target.close()


@contextmanager
def _pair(flow: Flow) -> Iterator[Pair]:
    """Connections of their own: each is used by one thread."""
    pair = Pair(Database(flow.source.dsn), Database(flow.target.dsn))
    try:
        yield pair
    finally:
        pair.close()


def confirm(flow: Flow, table: Hashed, suspects: list[str], pair: Pair) -> list[Difference]:
    """Which suspects really differ: the owner's row stood still while the follower, past it, showed another."""
    found: list[Difference] = []
    for start in range(0, len(suspects), SMALL):
        keys = suspects[start : start + SMALL]
        for _ in range(_LOOKS):
            if not keys:
                break
            before = table.these(pair.source, keys)
            _arrived(flow, pair)
            theirs, after = table.these(pair.target, keys), table.these(pair.source, keys)
            stood = [k for k in keys if before.get(k) == after.get(k)]
            found += _named(table, pair.source, stood, after, theirs)
            keys = [k for k in keys if before.get(k) != after.get(k)]
        if keys:
            found += _held(flow, table, keys, pair)
    return found


def _held(flow: Flow, table: Hashed, keys: list[str], pair: Pair) -> list[Difference]:
    """Rows that never stood still: their writers wait while what was written arrives. Milliseconds."""
    where, params = table.found(keys)
    with flow.source.transaction() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        run(cursor, f"SELECT 1 FROM {table.table.quoted} WHERE {where} FOR SHARE", params)
        _arrived(flow, pair)
        mine, theirs = table.these(pair.source, keys), table.these(pair.target, keys)
    return _named(table, pair.source, keys, mine, theirs)


def _arrived(flow: Flow, pair: Pair) -> None:
    asked = Flow(flow.name, flow.tenant, pair.source, pair.target)
    if not asked.wait(asked.watermark(), _WAIT):
        raise Transient(
            "The follower is too far behind to be compared; it is compared once it has caught up."
        )


def _named(
    table: Hashed, source: Database, keys: Sequence[str], mine: dict[str, Any], theirs: dict[str, Any]
) -> list[Difference]:
    differ = [k for k in keys if mine.get(k) != theirs.get(k)]
    if not differ:
        return []
    deleted = {
        row[0]
        for row in source.rows(
            "SELECT key FROM lifecycle.tombstone WHERE tenant_id = %s AND table_name = %s AND key = ANY(%s)",
            [table.tenant, table.table.name, differ],
        )
    }
    return [
        Difference(_kind(table, key, mine, theirs, deleted), STORE, table.table.name, key) for key in differ
    ]


def _kind(table: Hashed, key: str, mine: dict[str, Any], theirs: dict[str, Any], deleted: set[str]) -> Kind:
    if table.table.key:
        if key in mine:
            return Kind.STALE if key in theirs else Kind.MISSING
    elif mine.get(key, 0) > theirs.get(key, 0):  # a row without a key, which is there fewer times
        return Kind.MISSING
    return Kind.RESURRECTED if key in deleted else Kind.FOREIGN


def kinds(differences: Sequence[Difference]) -> dict[str, int]:
    """How many of each kind."""
    return dict(Counter(str(each.kind) for each in differences))
