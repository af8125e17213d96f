"""One index in memory: what is committed, and the older picture that reads see.

Pinecone is eventually consistent: a write is acknowledged once durable and reaches reads later; counts lag
behind both. Each namespace numbers its writes (LSN), so that a reader can tell whether it sees a given write.
"""

from __future__ import annotations

import bisect
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson


class Record(NamedTuple):
    """A stored vector without its id."""

    values: list[float]
    sparse: dict[str, Any] | None
    metadata: dict[str, Any] | None

    def dump(self) -> bytes:
        """JSON bytes for the disk."""
        return orjson.dumps([self.values, self.sparse, self.metadata])

    @classmethod
    def load(cls, body: bytes) -> Record:
        """The record that `dump` wrote."""
        return cls(*orjson.loads(body))

    def shown(self, record_id: str, *, values: bool = True, metadata: bool = True) -> dict[str, Any]:
        """The record as the API shows it."""
        result: dict[str, Any] = {"id": record_id}
        if values:
            result["values"] = self.values
            if self.sparse:
                result["sparseValues"] = self.sparse
        if metadata and self.metadata is not None:
            result["metadata"] = self.metadata
        return result


Changes = Mapping[str, "Record | None"]


@dataclass
class Lag:
    """How far reads stay behind writes, and counts behind reads, in seconds.

    Looked up when something is read: a trial that sets both to 0 sees every write at once.
    """

    reads_s: float = 0.0
    counts_s: float = 0.0


class _Pending(NamedTuple):
    written: float
    lsn: int
    changes: Changes
    present: bool


class SortedIds:
    """The ids of a dict in bitwise C order, kept cheaply while ids come and go.

    Python compares strings by code point, which is the order of their UTF-8 bytes.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._added: set[str] = set()
        self._dead = 0

    def added(self, record_id: str) -> None:
        self._added.add(record_id)

    def removed(self, record_id: str) -> None:
        self._dead += 1

    def page(
        self, live: Mapping[str, Record], prefix: str, after: str | None, limit: int
    ) -> tuple[list[str], bool]:
        """Up to `limit` live ids with `prefix` that come behind `after`, and whether more follow."""
        self._tidy(live)
        start = bisect.bisect_left(self._ids, prefix)
        if after is not None:
            start = max(start, bisect.bisect_right(self._ids, after))
        found: list[str] = []
        for position in range(start, len(self._ids)):
            record_id = self._ids[position]
            if not record_id.startswith(prefix):
                break
            if record_id in live:
                if len(found) == limit:
                    return found, True
                found.append(record_id)
        return found, False

    def _tidy(self, live: Mapping[str, Record]) -> None:
        if self._dead * 4 > len(self._ids) or (self._dead and self._added):
            # An id that was removed and came back stands in both lists.
            self._ids = [each for each in self._ids if each in live and each not in self._added]
            self._dead = 0
        if self._added:
            self._ids += sorted(self._added)
            self._ids.sort()
            self._added.clear()


@dataclass
class Namespace:
    """One namespace. `present` says that it exists even when empty."""

    committed: dict[str, Record] = field(default_factory=dict)
    visible: dict[str, Record] = field(default_factory=dict)
    committed_lsn: int = 0
    visible_lsn: int = 0
    present: bool = True
    visible_present: bool = False
    schema: dict[str, Any] | None = None
    count: int = 0
    _ids: SortedIds = field(default_factory=SortedIds)
    _pending: deque[_Pending] = field(default_factory=deque)
    _counts: deque[tuple[float, int]] = field(default_factory=deque)

    @classmethod
    def loaded(cls, lsn: int, present: bool, schema: dict[str, Any] | None) -> Namespace:
        """A namespace as found on the disk, everything visible once `apply` has filled it."""
        return cls(
            committed_lsn=lsn, visible_lsn=lsn, present=present, visible_present=present, schema=schema
        )

    def load(self, record_id: str, record: Record) -> None:
        """Add a record found on the disk."""
        self.committed[record_id] = record
        self.visible[record_id] = record
        self._ids.added(record_id)
        self.count += 1

    def commit(self, changes: Changes, present: bool) -> None:
        """Take a durable write: committed now, visible and counted as `settle` finds their time come."""
        for record_id, record in changes.items():
            if record is None:
                self.committed.pop(record_id, None)
            else:
                self.committed[record_id] = record
        self.committed_lsn += 1
        self.present = present
        now = time.monotonic()
        self._pending.append(_Pending(now, self.committed_lsn, changes, present))
        self._counts.append((now, len(self.committed)))

    def settle(self, lag: Lag) -> None:
        """Bring the visible picture up to now. Call before every read."""
        now = time.monotonic()
        while self._pending and self._pending[0].written + lag.reads_s <= now:
            self._reveal(self._pending.popleft())
        while self._counts and self._counts[0][0] + lag.reads_s + lag.counts_s <= now:
            self.count = self._counts.popleft()[1]

    def _reveal(self, write: _Pending) -> None:
        for record_id, record in write.changes.items():
            if record is None:
                if self.visible.pop(record_id, None) is not None:
                    self._ids.removed(record_id)
            else:
                if record_id not in self.visible:
                    self._ids.added(record_id)
                self.visible[record_id] = record
        self.visible_lsn = write.lsn
        self.visible_present = write.present

    def page(self, prefix: str, after: str | None, limit: int) -> tuple[list[str], bool]:
        """One page of visible ids in bitwise C order, and whether more follow."""
        return self._ids.page(self.visible, prefix, after, limit)
