"""What Prometheus counted of one tenant in one region: the second pair of eyes that is asked before a move advances.

Names are those of lifecycle's sample service (docs/taking-part.md); a platform with other names gives its own.
"""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from lifecycle.systems.base import Permanent, Transient

_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Names:
    """Metrics of a platform: a counter with labels tenant, region, status, a histogram of seconds, a gauge by region."""

    requests: str = "rag_requests_total"
    seconds: str = "rag_request_seconds"
    alive: str = "rag_alive"


@dataclass(frozen=True, slots=True)
class Seen:
    """Counts of a window. `p95_ms` None: no request. `age_s`: since the last scrape that had the tenant, None: never."""

    count: float
    errors: float
    p95_ms: float | None
    age_s: float | None


def read(address: str, tenant: str, region: str, seconds: int = 30, names: Names = Names()) -> Seen:
    """What the last `seconds` were. Raises Transient while Prometheus doesn't answer: that is silence, not health."""
    labels = f'tenant="{escaped(tenant)}",region="{escaped(region)}"'
    count = _ask(address, f"sum(increase({names.requests}{{{labels}}}[{seconds}s]))")
    errors = _ask(address, f'sum(increase({names.requests}{{{labels},status=~"5.."}}[{seconds}s]))')
    p95 = _ask(
        address,
        f"histogram_quantile(0.95, sum by (le) (rate({names.seconds}_bucket{{{labels}}}[{seconds}s])))",
    )
    age = _ask(address, f"time() - max(timestamp({names.requests}{{{labels}}}))")
    return Seen(count or 0.0, errors or 0.0, None if p95 is None else p95 * 1000, age)


def query(address: str, asked: str) -> list[dict[str, Any]]:
    """The series of an instant query's answer. Raises Transient while Prometheus doesn't answer, Permanent."""
    if not address.startswith(("http://", "https://")):
        raise Permanent("A Prometheus has an address that begins with http:// or https://.")
    body = urllib.parse.urlencode({"query": asked}).encode()
    try:
        with urllib.request.urlopen(  # noqa: S310 - the scheme was checked
            f"{address.rstrip('/')}/api/v1/query", body, timeout=_TIMEOUT_S
        ) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except (OSError, ValueError, KeyError, urllib.error.URLError) as failure:
        raise Transient(f"Prometheus does not answer ({type(failure).__name__}).") from None
    return found


def _ask(address: str, asked: str) -> float | None:
    """The one value of a query; None without one."""
    found = query(address, asked)
    value = float(found[0]["value"][1]) if found else math.nan
    return None if math.isnan(value) else value


def escaped(text: str) -> str:
    """A label's value as PromQL and the text format write it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
