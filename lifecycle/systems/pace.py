"""A copy goes at the pace that its environment's place allows, so that residents of the target notice nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

LONGEST_S = (
    20.0  # one pause; what is owed beyond it is paid by the next ones, so that a slice of work ends in time
)


class Pace:
    """At most `per_second` units each second, taken by any thread; 0: no limit."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    @classmethod
    def of(cls, place: Mapping[str, str], name: str) -> Pace:
        """The limit that a place names (`objects_per_second`), none where it names none."""
        return cls(float(place.get(name) or 0))

    def take(self, units: float) -> None:
        """Waits until these units may be spent. A burst is what one second allows."""
        if not self.per_second or not units:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 1) + units / self.per_second
            left = self._free_at - now
        if left > 0:
            time.sleep(min(left, LONGEST_S))

    def part(self, most: int, seconds: float = 4.0) -> int:
        """How many units make a part that takes about `seconds`, at most `most`."""
        return most if not self.per_second else max(1, min(most, int(self.per_second * seconds)))
