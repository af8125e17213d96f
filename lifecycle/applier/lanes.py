"""One lane: one store of one move, in one direction. Order per key, keys side by side, failures tried again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from lifecycle.systems.base import Permanent, Transient, Unreachable
from lifecycle.systems.following import Follower, apply
from lifecycle.systems.ledger import Change, Ledger

FULL_LOOK = (
    5.0  # seconds between looks at all rows: a transaction may commit after others that drew later numbers
)
MARGIN = 2_000  # rows before the newest known one that every look takes in, for the same reason
MANY = 5  # failures after which a key is counted as failed
LIMIT = 2_000
_WAIT, _LONGEST = 0.1, 5.0


@dataclass(slots=True)
class _Try:
    version: int
    seq: int
    error: Exception
    attempts: int = 0
    next_at: float = 0.0

    @property
    def hopeless(self) -> bool:
        return self.attempts >= MANY or isinstance(self.error, Permanent)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a lane stands: keys behind, seconds of the oldest, keys that keep failing, and why (no personal data)."""

    behind: int
    seconds: float
    failed: int
    applied: int
    why: str

    def shown(self) -> dict[str, object]:
        """As JSON."""
        return {
            "behind": self.behind,
            "seconds": round(self.seconds, 1),
            "failed": self.failed,
            "applied": self.applied,
            "why": self.why,
        }


@dataclass(slots=True)
class Lane:
    """Applies what `origin` wrote to one store. `work` runs in one thread at a time, whoever holds `busy`."""

    store: str
    origin: str
    here: Ledger  # of the region that follows
    there: Ledger  # of the region that wrote
    follower: Follower
    busy: threading.Lock = field(default_factory=threading.Lock)
    _tries: dict[str, _Try] = field(default_factory=dict, repr=False)
    _top: int = 0  # the newest number when rows were last looked at
    _more: bool = True
    _full_at: float = 0.0
    _applied: int = 0
    _trouble: str = ""

    def is_due(self, top: int) -> bool:
        """Whether there is anything to look at: new rows (`top` is the newest number), failures, or time for a full look."""
        now = time.monotonic()
        return (
            self._more
            or top != self._top
            or now >= self._full_at
            or any(one.next_at <= now for one in self._tries.copy().values())
        )

    def work(self, top: int) -> int:
        """One round over all that is due; returns how many changes were applied. Trouble is kept for `standing`."""
        try:
            done = self._round(top)
        except (Transient, Permanent) as error:
            self._trouble, self._more = str(error), True
            time.sleep(_WAIT)
            return 0
        self._trouble = ""
        self._applied += done
        return done

    def standing(self, top: int) -> Standing:
        """How the lane stands, by the rows where any may be waiting. Raises Transient where they can't be read."""
        tries = list(self._tries.copy().values())
        failed = [one for one in tries if one.hopeless]
        why = self._trouble or next((str(one.error) for one in failed), "")
        if not (self._more or tries or top != self._top or self._trouble):
            return Standing(0, 0.0, 0, self._applied, "")
        waiting = self.here.waiting(self.store, self.origin)
        return Standing(waiting.keys, waiting.seconds, len(failed), self._applied, why)

    def _round(self, top: int) -> int:
        now = time.monotonic()
        full = self._more or now >= self._full_at
        resting = [key for key, one in self._tries.items() if one.next_at > now]
        oldest = min([self._top, *(one.seq for one in self._tries.values())])
        due = self.here.pending(self.store, self.origin, 0 if full else oldest - MARGIN, LIMIT, resting)
        done = sum(
            self._batch(due[at : at + self.follower.batch]) for at in range(0, len(due), self.follower.batch)
        )
        self._top, self._more = top, len(due) == LIMIT
        if full:
            self._full_at = now + FULL_LOOK
        return done

    def _batch(self, changes: list[Change]) -> int:
        outcome = apply(self.here, self.follower, changes, self.there)
        if down := next((e for e in outcome.failed.values() if isinstance(e, Unreachable)), None):
            self._applied += outcome.applied
            raise down  # no key's own fault: the lane waits as a whole
        for change in changes:
            error = outcome.failed.get(change.key)
            if error is None:
                self._tries.pop(change.key, None)
            else:
                self._failed(change, error)
        return outcome.applied

    def _failed(self, change: Change, error: Exception) -> None:
        one = self._tries.get(change.key)
        if one is None or one.version != change.version:
            one = self._tries[change.key] = _Try(change.version, change.seq, error)
        one.attempts, one.error = one.attempts + 1, error
        one.next_at = time.monotonic() + min(_LONGEST, _WAIT * 2 ** min(one.attempts, 8))
