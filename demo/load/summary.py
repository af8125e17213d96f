"""What a ledger says in numbers."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

from demo.load.ledger import Entry, entries


def summary(path: Path, since: float = 0.0, until: float = float("inf")) -> dict[str, Any]:
    """Counts, percentiles in ms and the longest time without an acknowledged write, of answers between two moments."""
    chosen = [entry for entry in entries(path) if since <= entry.at < until]
    failed = [entry for entry in chosen if entry.failed]
    return {
        "requests": len(chosen),
        "failed": len(failed),
        "failures": dict(
            Counter(f"{entry.kind} {entry.status} {entry.why}" for entry in failed).most_common(5)
        ),
        "acknowledged": sum(entry.acknowledged for entry in chosen),
        "p50_ms": percentile(chosen, 0.50),
        "p99_ms": percentile(chosen, 0.99),
        "write_pause_ms": pause(chosen),
        "regions": dict(Counter(entry.region for entry in chosen)),
        "owners": dict(Counter(entry.owner for entry in chosen if entry.acknowledged)),
    }


def percentile(chosen: list[Entry], share: float) -> float:
    """Milliseconds within which that share of the answers came; 0 without any."""
    spent = sorted(entry.ms for entry in chosen)
    return spent[min(len(spent) - 1, int(len(spent) * share))] if spent else 0.0


def pause(chosen: list[Entry]) -> float:
    """The longest time between two acknowledged writes, in ms."""
    at = sorted(entry.at for entry in chosen if entry.acknowledged)
    return round(max((b - a for a, b in itertools.pairwise(at)), default=0.0) * 1000, 1)
