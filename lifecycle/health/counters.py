"""Counts of requests by tenant and region from the application's Prometheus counters, for load balancers that tell none.

Two counters with the labels tenant, region and kind (`read` or `write`): requests with their status, and a histogram of
seconds. And a gauge with the label region that each scrape has, so that a quiet tenant is told from a dead Prometheus.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lifecycle.health.meter import Meter
from lifecycle.health.prometheus import Names, escaped, query
from lifecycle.systems.base import Permanent, Transient

log = logging.getLogger("lifecycle.watchdog")

_PERIOD_S = 1.0
_SAMPLES = 400


@dataclass(slots=True)
class _Eye:
    """What the last look at one region's Prometheus left. `known`: tenants whose counters had a first look."""

    address: str = field(repr=False)
    looked: float = 0.0
    scraped: float = 0.0
    known: set[str] = field(default_factory=set)
    values: dict[frozenset[tuple[str, str]], float] = field(default_factory=dict)


class Counters:
    """Asks each region's Prometheus every second what the moving tenants' counters rose by, and tells a meter.

    `places`: addresses by region. Clocks of Prometheus and of this machine are taken to agree (NTP).
    """

    def __init__(self, meter: Meter, places: Mapping[str, str], names: Names) -> None:
        self._meter, self._names = meter, names
        self._eyes = {region: _Eye(address) for region, address in places.items()}
        self._moves: dict[str, tuple[str, str]] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()

    def start(self) -> None:
        """A thread a region, so that a Prometheus that hangs silences its own region only."""
        for region in self._eyes:
            threading.Thread(target=self._run, args=(region,), name=f"counters {region}", daemon=True).start()

    def tend(self, moves: Mapping[str, tuple[str, str]]) -> None:
        """Whom to count: blue and green by tenant. A region without a Prometheus is never heard, which holds the move."""
        with self._lock:
            self._moves = dict(moves)

    def look(self, region: str) -> None:
        """One look. Raises Transient while Prometheus doesn't answer, Permanent for an address that is none."""
        eye, now = self._eyes[region], time.monotonic()
        with self._lock:
            moves = {tenant: sides for tenant, sides in self._moves.items() if region in sides}
        alive = query(eye.address, f'max(timestamp({self._names.alive}{{region="{escaped(region)}"}}))')
        if moves:
            self._count(region, eye, moves)
        if gone := eye.known - moves.keys():
            eye.known -= gone
            eye.values = {key: value for key, value in eye.values.items() if dict(key)["tenant"] in moves}
        eye.looked = now
        if alive:
            eye.scraped = now - max(0.0, time.time() - float(alive[0]["value"][1]))
        for tenant, sides in moves.items():
            ages = [each.scraped for side in sides if (each := self._eyes.get(side)) is not None]
            if len(ages) == len(sides) and min(ages):
                self._meter.hear(tenant, min(ages))

    def close(self) -> None:
        """Ends the threads."""
        self._stop.set()

    def _run(self, region: str) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self.look(region)
            except (Transient, Permanent) as failure:
                log.warning("The counters of %s were not read: %s", region, failure)
            self._stop.wait(max(0.1, _PERIOD_S - (time.monotonic() - began)))

    def _count(self, region: str, eye: _Eye, moves: Mapping[str, tuple[str, str]]) -> None:
        tenants = "|".join(re.escape(tenant) for tenant in sorted(moves))
        labels = f'{{region="{escaped(region)}",tenant=~"{escaped(tenants)}"}}'
        counts, errors = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for series, rose in self._risen(eye, f"{self._names.requests}{labels}"):
            key = series["tenant"], series.get("kind", "write")
            counts[key] += round(rose)
            errors[key] += round(rose) if series.get("status", "").startswith("5") else 0
        within: dict[tuple[str, str], Counter[float]] = defaultdict(Counter)
        for series, rose in self._risen(eye, f"{self._names.seconds}_bucket{labels}"):
            within[series["tenant"], series.get("kind", "write")][float(series["le"])] += round(rose)
        eye.known |= moves.keys()
        for (tenant, kind), count in counts.items():
            is_green = region == moves[tenant][1]
            latencies = _milliseconds(within[tenant, kind], upper=not is_green)
            # What rose since the last look belongs to the time before it, as far as one can tell.
            self._meter.take(tenant, region, kind, count, errors[tenant, kind], latencies, eye.looked)

    def _risen(self, eye: _Eye, selector: str) -> Iterator[tuple[Mapping[str, str], float]]:
        """Labels of each series, and what it rose by since the last look. A counter that fell began anew; one that wasn't
        there begins at 0, unless nothing was known of its tenant."""
        for found in query(eye.address, selector):
            series: dict[str, str] = found["metric"]
            key, value = frozenset(series.items()), float(found["value"][1])
            before = eye.values.get(key, 0.0 if series["tenant"] in eye.known else value)
            eye.values[key] = value
            yield series, value - before if value >= before else value


def _milliseconds(within: Mapping[float, int], *, upper: bool) -> list[float]:
    """Latencies by a histogram's cumulative buckets (seconds): the upper ends of the buckets, or the lower ones.

    Blue's are read slow and green's fast, so that no width of a bucket sends a healthy green back.
    """
    found, below, counted = list[float](), 0.0, 0
    for limit in sorted(within):
        end = below if math.isinf(limit) or not upper else limit
        found += [end * 1000] * max(0, within[limit] - counted)
        below, counted = limit, max(counted, within[limit])
    return found[:: max(1, len(found) // _SAMPLES)]
