"""Counters and a histogram in Prometheus' text format."""

from __future__ import annotations

import threading
import time
from collections import Counter

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
FORGOTTEN_AFTER = 300.0  # a tenant that is gone must not come back with every scrape


class Metrics:
    """Requests by tenant. Safe in threads."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[tuple[str, str], list[float]] = {}
        self._seen: dict[str, float] = {}

    def count(self, tenant: str, kind: str, status: int, seconds: float) -> None:
        """One answered request; `kind` is `read` or `write`."""
        with self._lock:
            self._requests[tenant, kind, status] += 1
            # One number per bucket, then all, then the sum.
            row = self._seconds.setdefault((tenant, kind), [0.0] * (len(BUCKETS) + 2))
            for place, limit in enumerate(BUCKETS):
                row[place] += seconds <= limit
            row[-2] += 1
            row[-1] += seconds
            self._seen[tenant] = time.monotonic()

    def text(self) -> str:
        """What a scrape reads; tenants that asked nothing for a while are left out."""
        with self._lock:
            self._forget()
            # There in each scrape, so that nobody takes a silent Prometheus for a quiet tenant.
            lines = ["# TYPE rag_alive gauge", f'rag_alive{{region="{self._region}"}} 1']
            lines.append("# TYPE rag_requests_total counter")
            for (tenant, kind, status), number in sorted(self._requests.items()):
                lines.append(f'rag_requests_total{{{self._labels(tenant, kind)},status="{status}"}} {number}')
            lines.append("# TYPE rag_request_seconds histogram")
            for (tenant, kind), row in sorted(self._seconds.items()):
                labels = self._labels(tenant, kind)
                for limit, within in zip((*map(str, BUCKETS), "+Inf"), row, strict=False):
                    lines.append(f'rag_request_seconds_bucket{{{labels},le="{limit}"}} {within:g}')
                lines.append(f"rag_request_seconds_sum{{{labels}}} {row[-1]:.6f}")
                lines.append(f"rag_request_seconds_count{{{labels}}} {row[-2]:g}")
        return "\n".join(lines) + "\n"

    def _forget(self) -> None:
        limit = time.monotonic() - FORGOTTEN_AFTER
        for tenant in [each for each, at in self._seen.items() if at < limit]:
            del self._seen[tenant]
            for row in [row for row in self._seconds if row[0] == tenant]:
                del self._seconds[row]
            for key in [key for key in self._requests if key[0] == tenant]:
                del self._requests[key]

    def _labels(self, tenant: str, kind: str) -> str:
        escaped = tenant.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'tenant="{escaped}",region="{self._region}",kind="{kind}"'
