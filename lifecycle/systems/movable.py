"""The contract of a system whose part of a tenant can move between regions. No Django here.

A move copies a tenant's part from `source` (blue) to `target` (green) while it is used, keeps both alike, compares
them, mends what differs, and cleans the side that is given up. Nothing is ever deleted because a listing lacks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from lifecycle.systems.base import Page


@dataclass(frozen=True, slots=True)
class Side:
    """One system of one environment: its region and resolved settings. Secrets never show in its text."""

    region: str
    place: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Move:
    """One tenant's move as one system sees it. `id` is lower case letters, digits and `_` (it names slots)."""

    id: str
    tenant: str
    source: Side
    target: Side

    def turned(self) -> Move:
        """The same move seen from the other side: what flows back."""
        return Move(self.id, self.tenant, self.target, self.source)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a plan found. One that refuses stops the move; others are named to whoever approves."""

    refuses: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Progress:
    """One slice of copying. `cursor` (JSON) continues, None: the copy is complete."""

    cursor: Any
    done: int
    total: int | None
    unit: str
    moved_bytes: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the follower is behind: bytes of log or outbox entries, seconds of the oldest, and conflicts seen."""

    behind: int
    seconds: float
    conflicts: int = 0
    at: datetime | None = None


class Kind(StrEnum):
    """How a key differs on the follower: not there; older; deleted by its owner yet there; never the owner's; same
    version, other content."""

    MISSING = "missing"
    STALE = "stale"
    RESURRECTED = "resurrected"
    FOREIGN = "foreign"
    CORRUPTED = "corrupted"


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that differs. `store` is the system, `item` a table, `object`, `vector`; `key` finds it (JSON where needed).

    Keys can name people: they are shown to whoever asks, and never stored or logged.
    """

    kind: Kind
    store: str
    item: str
    key: str

    def __repr__(self) -> str:
        return f"Difference({self.kind}, {self.store}, {self.item})"


class Mover(Protocol):
    """One system's side of a move. Every method is idempotent and may be interrupted anywhere."""

    name: str

    def plan(self) -> Sequence[Finding]:
        """What stands in the way, and what the approver should know; changes nothing."""

    def size(self) -> Mapping[str, int]:
        """{"items": rows, objects, vectors or keys; "bytes": an estimate} of the source's part."""

    def copy(self, cursor: Any, seconds: float) -> Progress:
        """Copies for at most `seconds`."""

    def lag(self) -> Lag:
        """How far the target is behind the source now."""

    def compare(self, cursor: Any, seconds: float) -> Page[Difference]:
        """Compares both sides for at most `seconds`; what changed meanwhile is looked at again before it counts."""

    def repair(self, differences: Sequence[Difference]) -> int:
        """Mends the target from the source through the applier's own rules; returns how many it mended."""

    def clean(self, side: Side) -> None:
        """Removes the tenant's part from a side that was given up. Raises Permanent while any stream still flows from
        it, or while it owns the tenant."""

    def close(self) -> None: ...
