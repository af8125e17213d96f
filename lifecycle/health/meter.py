"""Counts of requests by tenant and region, from the load balancer's own log: one UDP line a request.

Lines are "TENANT REGION STATUS MILLISECONDS TERMINATION METHOD" (see traffic/configuration.py); only moving tenants have
them. Nothing is asked of the application: one that hangs or lies is still counted right. Reads (GET, HEAD) and writes
(all else) are timed apart: while blue owns the writes green forwards them, so a healthy green's writes are slower.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

_KEEP_S = 120
_LATENCIES_A_SECOND = 400
READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Window:
    """Requests of the last seconds: how many, how many failed, and the milliseconds of those that didn't (samples of reads
    and of writes)."""

    count: int = 0
    errors: int = 0
    reads: Sequence[float] = ()
    writes: Sequence[float] = ()


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value at `share` (0..1) of sorted values; None of none."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True)
class _Second:
    at: int
    count: int = 0
    errors: int = 0
    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)


class Meter:
    """Sliding windows. `note` may be called by any thread; times are `time.monotonic()`."""

    def __init__(self, source: str = "The load balancer's log") -> None:
        """`source`: who tells it, as the gates name what is missing."""
        self.source = source
        self._lock = threading.Lock()
        self._seconds: dict[tuple[str, str], deque[_Second]] = defaultdict(deque)
        self._heard: dict[str, float] = {}
        self._chance = random.Random(1)  # noqa: S311 - picks samples

    def note(
        self,
        tenant: str,
        region: str,
        status: int,
        milliseconds: float,
        ending: str,
        method: str,
        now: float,
    ) -> None:
        """One request. `status` below 0: no answer was sent; `ending` is HAProxy's termination state, `method` HTTP's."""
        if ending.startswith("C") and status < 500:
            return  # the client went away
        failed = status >= 500 or status < 100
        with self._lock:
            self._heard[tenant] = now
            second = self._second(tenant, region, int(now))
            second.count += 1
            second.errors += failed
            if failed:
                return
            kept = second.reads if method in READS else second.writes
            if len(kept) < _LATENCIES_A_SECOND:
                kept.append(milliseconds)
            elif (place := self._chance.randrange(second.count)) < _LATENCIES_A_SECOND:
                kept[place] = milliseconds

    def take(
        self,
        tenant: str,
        region: str,
        kind: str,
        count: int,
        errors: int,
        latencies: Sequence[float],
        at: float,
    ) -> None:
        """Requests of one kind (`read`, `write`) that were counted elsewhere; milliseconds of a sample of them."""
        with self._lock:
            kept = self._seconds[tenant, region]
            second = self._second(tenant, region, max(int(at), kept[-1].at if kept else 0))
            second.count += count
            second.errors += errors
            (second.reads if kind == "read" else second.writes).extend(latencies)

    def hear(self, tenant: str, at: float) -> None:
        """The counts of this tenant are complete until `at`."""
        with self._lock:
            self._heard[tenant] = max(at, self._heard.get(tenant, at))

    def _second(self, tenant: str, region: str, at: int) -> _Second:
        kept = self._seconds[tenant, region]
        if not kept or kept[-1].at != at:
            kept.append(_Second(at))
            while kept[0].at < at - _KEEP_S:
                kept.popleft()
        return kept[-1]

    def window(self, tenant: str, region: str, seconds: float, now: float, since: float = 0.0) -> Window:
        """What was counted in the last `seconds`, and not before `since`."""
        first = max(now - seconds, since)
        with self._lock:
            kept = [each for each in self._seconds.get((tenant, region), ()) if each.at >= first]
            return Window(
                sum(each.count for each in kept),
                sum(each.errors for each in kept),
                [value for each in kept for value in each.reads],
                [value for each in kept for value in each.writes],
            )

    def heard(self, tenant: str) -> float | None:
        """When the last line of this tenant came; None: never."""
        with self._lock:
            return self._heard.get(tenant)

    def forget(self, tenant: str) -> None:
        """The move is over."""
        with self._lock:
            self._heard.pop(tenant, None)
            for key in [key for key in self._seconds if key[0] == tenant]:
                del self._seconds[key]


class Listener:
    """Reads the load balancer's lines from UDP `port` of loopback into a meter, in a thread of its own."""

    def __init__(self, meter: Meter, port: int, host: str = "127.0.0.1") -> None:
        self._meter = meter
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((host, port))
        self._socket.settimeout(0.5)
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="meter", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._closed:
            try:
                self._take(self._socket.recv(2048))
            except TimeoutError:
                continue
            except OSError:
                return

    def _take(self, data: bytes) -> None:
        parts = data.decode(errors="replace").split()
        # A stranger on this machine can send anything here.
        with contextlib.suppress(ValueError):
            tenant, region, status, spent, ending, method = parts
            self._meter.note(tenant, region, int(status), float(spent), ending, method, time.monotonic())

    def close(self) -> None:
        """Ends the thread."""
        self._closed = True
        self._thread.join()
        self._socket.close()
