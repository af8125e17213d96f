"""Is green healthy? Pure functions: facts of one moment in, a verdict out.

Statistics decide, since a tenant may send one request a minute: Wilson's lower bound for the share of errors (Wilson
1927), and a bound from order statistics for the 95th percentile. What can't be judged is held; held too long, the move
goes back. Silence is never health.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lifecycle.health.meter import Window, percentile


class State(StrEnum):
    OK = "ok"
    HOLD = "hold"
    TRIP = "trip"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still healthy. Seconds and milliseconds; `z` are normal quantiles of the bounds.

    `error_rate`: share of failed requests, reads and writes together. `p95_factor` and `floor_ms`: green's p95 is bad above
    factor times blue's, and at least so much above it; reads are compared with reads, writes with writes. While a write at
    green has to go to the other region too (forwarded before the flip, confirmed by it in safe soak), writes are bad only
    above `write_factor` times blue's and `write_ms` more: twice the work, and four round trips of 62 ms between us-east-1 and
    us-west-2. `failures`: probes in a row that must fail. `hold_s`: how long missing data holds a move before it goes back.
    `stale_s`: from when on data count as missing.
    """

    error_rate: float = 0.01
    least_errors: int = 4
    error_z: float = 4.0
    p95_factor: float = 2.0
    floor_ms: float = 50.0
    write_factor: float = 2.0
    write_ms: float = 250.0
    least_samples: int = 16
    p95_z: float = 4.0
    failures: int = 3
    hold_s: float = 20.0
    stale_s: float = 4.0
    lag_s: float = 10.0

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Limits:
        """Limits from an order's settings; unknown names are ignored, `min_requests` is `least_samples`."""
        renamed = {"min_requests": "least_samples"}
        named = {renamed.get(name, name): value for name, value in settings.items()}
        return cls(**{name: value for name, value in named.items() if name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Probe:
    """What probes of one region say: failures and wrong answers in a row, milliseconds of the last good ones.

    `age_s`: since the last probe ended in any way.
    """

    failures: int = 0
    wrong: int = 0
    latencies: Sequence[float] = ()
    age_s: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one move in one moment. `fast` and `slow`: green's requests of a short and a long window.

    `base`, `base_writes`: latencies of blue's reads and writes to compare with; `far`: a write at green has to go to blue
    too. `heard_age_s`: since `source` told of this tenant.
    `lag_s`, `changes_behind`: None where they could not be read. `residue`: differences that a check found.
    """

    share: int
    owner_green: bool
    fast: Window
    slow: Window
    base: Sequence[float]
    base_writes: Sequence[float]
    blue: Probe
    green: Probe
    heard_age_s: float = 0.0
    database_failures: int = 0
    blue_database_failures: int = 0
    conflicts: int = 0
    residue: int = 0
    lag_s: float | None = 0.0
    lag_age_s: float = 0.0
    ready_back: bool = True
    base_probe: Sequence[float] = ()
    far: bool = True
    source: str = "The load balancer's log"


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate's reading. `why` is a sentence for whoever looks at the board."""

    name: str
    value: float | None
    limit: float
    state: State
    why: str

    def plain(self) -> dict[str, Any]:
        """For a reading's JSON."""
        return {
            "name": self.name,
            "value": None if self.value is None else round(self.value, 4),
            "limit": self.limit,
            "ok": self.state is State.OK,
            "state": str(self.state),
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """The worst gate decides."""

    state: State
    gate: str = ""
    why: str = ""
    gates: tuple[Gate, ...] = field(default=(), repr=False)


def judge(facts: Facts, limits: Limits) -> Verdict:
    """The verdict on green. A green that fails together with blue is held: the way back would lead nowhere better."""
    gates = (
        _health(facts, limits),
        _database(facts, limits),
        _golden(facts, limits),
        _errors(facts, limits),
        _slowness("p95 reads", facts.slow.reads, p95_limit(facts.base, limits), limits),
        _slowness(
            "p95 writes", facts.slow.writes, write_limit(facts.base_writes, limits, far=facts.far), limits
        ),
        _slowness("probe p95", facts.green.latencies, p95_limit(facts.base_probe, limits), limits),
        _count("conflicts", facts.conflicts, "Replication met conflicting rows."),
        _count("residue", facts.residue, "A comparison of both sides found differences."),
        _missing(facts, limits),
        _way_back(facts, limits),
    )
    worst = _worst(gates, State.TRIP) or _worst(gates, State.HOLD)
    if worst is None:
        return Verdict(State.OK, gates=gates)
    if worst.state is State.TRIP and _blue_is_down(facts, limits):
        return Verdict(State.HOLD, worst.name, f"{worst.why} Blue fails too, so nothing is moved.", gates)
    return Verdict(worst.state, worst.name, worst.why, gates)


def wilson_lower(errors: int, count: int, z: float) -> float:
    """Lower end of Wilson's score interval of a share; 0 of none."""
    if not count:
        return 0.0
    share, spread = errors / count, z * z / count
    centre = share + spread / 2
    return (centre - z * math.sqrt(share * (1 - share) / count + spread / (4 * count))) / (1 + spread)


def p95_rank(count: int, z: float) -> int | None:
    """Of `count` sorted values: the place, from 0, of what the 95th percentile surely exceeds. None of too few."""
    rank = math.floor(0.95 * count - z * math.sqrt(0.95 * 0.05 * count))
    return rank if 0 < rank < count else None


def p95_lower(ordered: Sequence[float], z: float) -> float | None:
    """Of sorted values. What the 95th percentile surely exceeds: the order statistic z deviations below its rank. None of too few."""
    rank = p95_rank(len(ordered), z)
    return None if rank is None else ordered[rank]


def p95_limit(base: Sequence[float], limits: Limits) -> float:
    """Milliseconds above which a p95 is bad, by blue's latencies; infinite of too few."""
    if len(base) < limits.least_samples or (expected := percentile(sorted(base), 0.95)) is None:
        return math.inf
    return max(limits.p95_factor * expected, expected + limits.floor_ms)


def write_limit(base: Sequence[float], limits: Limits, *, far: bool) -> float:
    """The same of writes; `far`: each goes to the other region too."""
    if not far:
        return p95_limit(base, limits)
    if len(base) < limits.least_samples or (expected := percentile(sorted(base), 0.95)) is None:
        return math.inf
    return limits.write_factor * expected + limits.write_ms


def _health(facts: Facts, limits: Limits) -> Gate:
    bad = facts.green.failures >= limits.failures
    why = facts.green.why or "Green's health check and golden probes fail."
    return _gate("health", facts.green.failures, limits.failures, bad, why)


def _database(facts: Facts, limits: Limits) -> Gate:
    bad = facts.database_failures >= limits.failures
    return _gate(
        "database", facts.database_failures, limits.failures, bad, "Green's database does not answer."
    )


def _golden(facts: Facts, limits: Limits) -> Gate:
    bad = facts.green.wrong >= limits.failures
    return _gate(
        "answers", facts.green.wrong, limits.failures, bad, "Green answers a known question wrongly."
    )


def _errors(facts: Facts, limits: Limits) -> Gate:
    found = [
        (wilson_lower(window.errors, window.count, limits.error_z), window)
        for window in (facts.fast, facts.slow)
        if window.errors >= limits.least_errors
    ]
    lower = max((bound for bound, _ in found), default=0.0)
    bad = lower > limits.error_rate
    shown = facts.slow.errors / facts.slow.count if facts.slow.count else 0.0
    why = f"At least {lower:.1%} of green's requests fail." if bad else ""
    return _gate("errors", shown, limits.error_rate, bad, why)


def _slowness(name: str, latencies: Sequence[float], limit: float, limits: Limits) -> Gate:
    if len(latencies) < limits.least_samples or math.isinf(limit):
        return Gate(name, None, 0.0, State.OK, "Too few requests to compare; the other gates decide.")
    ordered = sorted(latencies)
    lower, shown = p95_lower(ordered, limits.p95_z), percentile(ordered, 0.95)
    bad = lower is not None and lower > limit
    return _gate(name, shown, round(limit, 1), bad, f"Green's {name} is above {limit:.0f} ms." if bad else "")


def _count(name: str, value: int, why: str) -> Gate:
    return _gate(name, value, 0, value > 0, why)


def _missing(facts: Facts, limits: Limits) -> Gate:
    ages = {
        facts.source: facts.heard_age_s,
        "Probes of green": facts.green.age_s,
        "The replication's lag": facts.lag_age_s,
    }
    what, age = max(ages.items(), key=lambda each: each[1])
    state = State.OK
    if age > limits.stale_s:
        state = State.TRIP if age > limits.hold_s else State.HOLD
    why = f"{what} is missing for {age:.0f} s." if state is not State.OK else ""
    return Gate("data", age, limits.hold_s, state, why)


def _way_back(facts: Facts, limits: Limits) -> Gate:
    late = facts.lag_s is None or facts.lag_s > limits.lag_s
    if facts.ready_back and not late:
        return Gate("way back", facts.lag_s, limits.lag_s, State.OK, "")
    # Going back now is what would lose writes, so this alone never sends a move back.
    return Gate(
        "way back",
        facts.lag_s,
        limits.lag_s,
        State.HOLD,
        "The way back is not ready: what green writes is late on blue.",
    )


def _gate(name: str, value: float | None, limit: float, bad: bool, why: str) -> Gate:
    return Gate(name, value, limit, State.TRIP if bad else State.OK, why if bad else "")


def _worst(gates: Iterable[Gate], state: State) -> Gate | None:
    return next((each for each in gates if each.state is state), None)


def _blue_is_down(facts: Facts, limits: Limits) -> bool:
    return (
        facts.blue.failures >= limits.failures
        or facts.blue.wrong >= limits.failures
        or facts.blue_database_failures >= limits.failures
    )
