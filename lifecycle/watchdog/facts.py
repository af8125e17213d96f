"""From the watch's instruments to the facts that the gates judge, and to the reading that people see."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lifecycle.health.gates import Facts, Verdict
from lifecycle.health.meter import Meter, Window, percentile
from lifecycle.watchdog.hands import stream_names
from lifecycle.watchdog.probing import Prober
from lifecycle.watchdog.regions import Flow, Region
from lifecycle.watchdog.state import Move

FAST_S, SLOW_S, SHOWN_S = 5.0, 30.0, 5.0
BASE_S, LONG_BASE_S = 60.0, 120.0  # the longer one where a class of requests is rare
_FRESH_S = 3.0
_BASE_KEPT, _BASE_LEAST = 200, 50
FENCE_S = 0.02  # what a fence takes beside the stream's way, measured (tests/lifecycle/watchdog/test_flip.py)


@dataclass(slots=True)
class View:
    """Everything that measures one move. `apps`: addresses of blue's application and green's, '' where nobody named one;
    `since`: when share or owner last changed; `apply_s`: a change of weights."""

    move: Move
    blue: Region
    green: Region
    forth: Flow
    back: Flow
    apps: tuple[str, str]
    since: float
    apply_s: float = 0.005
    base_at: float = 0.0

    def restart(self, grace: float = 0.0) -> None:
        """What was counted until now (and in the `grace` to come) says nothing of what is judged from here on."""
        self.since = max(self.since, time.monotonic() + grace)

    def facts(self, meter: Meter, prober: Prober, share: int) -> Facts:
        """What is known now."""
        now, order = time.monotonic(), self.move.order
        owner_green = self.move.owner == order.green
        fast = meter.window(order.tenant, order.green, FAST_S, now, self.since)
        slow = meter.window(order.tenant, order.green, SLOW_S, now, self.since)
        heard = meter.heard(order.tenant)
        self._keep_base(meter, prober, owner_green, now)
        flow = self.back if owner_green else self.forth
        return Facts(
            share=share,
            owner_green=owner_green,
            fast=fast,
            slow=slow,
            base=self.move.base,
            base_writes=self.move.base_writes,
            base_probe=self.move.base_probe,
            source=meter.source,
            far=not owner_green or order.soak == "safe",
            blue=prober.probe(order.migration, order.blue),
            green=prober.probe(order.migration, order.green),
            heard_age_s=now - max(heard or 0.0, self.since),
            database_failures=self.green.failures,
            blue_database_failures=self.blue.failures,
            conflicts=self._new_conflicts(),
            lag_s=self._lag(flow),
            lag_age_s=now - max(flow.last_try, self.since),
            ready_back=self._fresh(self.back),
        )

    def reading(self, meter: Meter, share: int, verdict: Verdict) -> dict[str, Any]:
        """One second's reading: the shape that board and metrics know."""
        now, order = time.monotonic(), self.move.order
        owner_green = self.move.owner == order.green
        follower = self.blue if owner_green else self.green
        flow = self.back if owner_green else self.forth
        lag = self._lag(flow)
        return {
            "blue": _shown(meter.window(order.tenant, order.blue, SHOWN_S, now)),
            "green": _shown(meter.window(order.tenant, order.green, SHOWN_S, now)),
            "share": share,
            "owner": self.move.owner,
            "lag_bytes": self._lag_bytes(self.green if owner_green else self.blue),
            "lag_s": None if lag is None else round(lag, 4),
            "changes_behind": follower.behind.get(order.tenant, 0),
            "gates": [gate.plain() for gate in verdict.gates],
            "verdict": str(verdict.state),
            "ready_back": self.ready_back(),
        }

    def ready_back(self) -> dict[str, Any]:
        """How long the way back to blue would take now, and how many writes it would lose: measured, not guessed."""
        if self.move.owner == self.move.order.blue:
            return {"seconds": round(self.apply_s, 4), "writes_at_risk": 0, "ready": self._fresh(self.back)}
        arrival = self.back.arrivals.get(self.move.order.tenant)
        if arrival is None:
            return {"seconds": None, "writes_at_risk": None, "ready": False}
        if self._fresh(self.back):
            seconds = self.apply_s + FENCE_S + arrival.seconds
            return {"seconds": round(seconds, 4), "writes_at_risk": 0, "ready": True}
        return {"seconds": None, "writes_at_risk": arrival.at_risk, "ready": False}

    def blocked(self) -> str:
        """Why the writes may not go to green now; empty if they may."""
        order = self.move.order
        if not self._fresh(self.forth):
            return "What blue writes does not arrive at green within a second."
        if not self._fresh(self.back):
            return "The way back is not ready: what green writes does not arrive at blue within a second."
        limit = int(order.settings.get("changes_behind", 50))
        behind = self.green.behind.get(order.tenant, 0)
        if behind > limit:
            return f"{behind} changed objects and vectors are not at green yet; at most {limit} may be."
        return ""

    def _fresh(self, flow: Flow) -> bool:
        arrival = flow.arrivals.get(self.move.order.tenant)
        return arrival is not None and time.monotonic() - arrival.seen < _FRESH_S

    def _lag(self, flow: Flow) -> float | None:
        arrival = flow.arrivals.get(self.move.order.tenant)
        if arrival is None:
            return None
        return arrival.seconds if self._fresh(flow) else time.monotonic() - arrival.written

    def _lag_bytes(self, owner: Region) -> int:
        names = set(stream_names(self.move).values()) | {self.move.order.settings.get("slot", "")}
        return max((lag for slot, lag in owner.slots.items() if slot in names), default=0)

    def _new_conflicts(self) -> int:
        names = stream_names(self.move)
        count = self.green.conflicts.get(names["forth"], 0) + self.blue.conflicts.get(names["back"], 0)
        # The stream forth goes after the flip, and its counts with it.
        if self.move.conflicts is None or count < self.move.conflicts:
            self.move.conflicts = count
        return count - self.move.conflicts

    def _keep_base(self, meter: Meter, prober: Prober, owner_green: bool, now: float) -> None:
        """Blue is the measure as long as it serves; later, what it was."""
        order = self.move.order
        if owner_green or now - self.base_at < 10:
            return
        windows = [meter.window(order.tenant, order.blue, each, now) for each in (BASE_S, LONG_BASE_S)]
        reads, writes = _enough([each.reads for each in windows]), _enough([each.writes for each in windows])
        probes = prober.probe(order.migration, order.blue).latencies
        self.move.base = reads or self.move.base
        self.move.base_writes = writes or self.move.base_writes
        if len(probes) >= 16:
            self.move.base_probe = [round(value, 2) for value in probes]
        if reads or writes or len(probes) >= 16:
            self.base_at = now


def _enough(samples: Sequence[Sequence[float]]) -> list[float]:
    """A part of the first sample that is large enough; empty where none is."""
    found = next((each for each in samples if len(each) >= _BASE_LEAST), ())
    return [round(value, 2) for value in found[:: max(1, len(found) // _BASE_KEPT)]]


def _shown(window: Window) -> dict[str, Any]:
    return {
        "rps": round(window.count / SHOWN_S, 2),
        "errors": round(window.errors / window.count, 4) if window.count else 0.0,
        "p95": _p95(window.reads),
        "p95_writes": _p95(window.writes),
    }


def _p95(latencies: Sequence[float]) -> float | None:
    found = percentile(sorted(latencies), 0.95)
    return None if found is None else round(found, 1)
