"""Writes an application's counters into a real Prometheus, as a scrape would."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from lifecycle.health.prometheus import Names
from lifecycle.systems.analytics.remote_write import HEADERS, one_sample


def names() -> Names:
    """Names that nobody else's series have."""
    own = secrets.token_hex(4)
    return Names(f"r{own}_total", f"s{own}", f"a{own}")


@dataclass
class Application:
    """The counters of one region for one tenant. `address`: the region's Prometheus."""

    address: str
    region: str
    tenant: str
    names: Names
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    buckets: dict[tuple[str, str], int] = field(default_factory=dict)

    def serve(self, kind: str, count: int, status: str = "200", le: str = "+Inf", low: int = 0) -> None:
        """Counts requests; `low` of them took less than `le` seconds, the others less than a second."""
        self.counts[kind, status] = self.counts.get((kind, status), 0) + count
        for limit, within in {le: low, "1": count, "+Inf": count}.items():
            self.buckets[kind, limit] = self.buckets.get((kind, limit), 0) + within

    def scraped(self) -> None:
        """What a scrape reads now."""
        self._write(self.names.alive, 1, {})
        for (kind, status), value in self.counts.items():
            self._write(self.names.requests, value, {"tenant": self.tenant, "kind": kind, "status": status})
        for (kind, limit), value in self.buckets.items():
            self._write(
                f"{self.names.seconds}_bucket", value, {"tenant": self.tenant, "kind": kind, "le": limit}
            )

    def _write(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        body = one_sample({"__name__": name, "region": self.region, **labels}, int(time.time() * 1000), value)
        httpx.post(
            f"{self.address}/api/v1/write", content=body, headers=HEADERS, timeout=5
        ).raise_for_status()
