"""How often the gates are wrong: simulated steps of moves, healthy and sick, judged every second as the watchdog does.

Three requests in ten are writes, which take twice as long. A healthy green fails 1 request in 1,000 and is 10 % slower
than blue, with a slow request (five times) in fifty; its writes take a round trip of 65 ms more while they are forwarded,
and in the last step, under safe soak, twice blue's time and two round trips. A sick one has one of four illnesses from a
random second on. Illnesses near the limits are counted apart (`near`): some of them the gates are not meant to see.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from statistics import NormalDist

from lifecycle.health.gates import Facts, Limits, Probe, State, judge, p95_limit, p95_rank, write_limit
from lifecycle.health.meter import Window

STEPS = (10, 25, 50, 75, 100)
FAST_S, SLOW_S = 5, 30
_PROBES = 16
_MEDIAN_MS, _SPREAD = 20.0, 0.5
_WRITES, _TRIP_MS = 0.3, 65.0
_GRAIN = 20_000  # quantiles that a distribution is drawn from; the rarest thing in it has a share of 0.001


class Illness(StrEnum):
    NONE = "none"
    ERRORS = "errors"  # one request in ten fails
    DEAD = "dead"  # every request fails, probes too
    SLOW = "slow"  # four times slower, and 200 ms
    WRONG = "wrong"  # known questions are answered wrongly
    # Near the limits; times are beside a healthy green's
    READS_BELOW = "reads 1.5 times slower"
    READS_ABOVE = "reads 3 times slower"
    WRITES_BELOW = "writes 1.5 times slower"
    WRITES_ABOVE = "writes 3 times slower"
    WRITES_FAR_ABOVE = "writes 6 times slower"
    FEW_ERRORS = "2 % of requests fail"
    SOME_ERRORS = "5 % of requests fail"


PLAIN = (Illness.ERRORS, Illness.DEAD, Illness.SLOW, Illness.WRONG)
NEAR = tuple(each for each in Illness if each not in (*PLAIN, Illness.NONE))
_READS_SLOWER = {Illness.SLOW: 4.0, Illness.READS_BELOW: 1.5, Illness.READS_ABOVE: 3.0}
_WRITES_SLOWER = {
    Illness.SLOW: 4.0,
    Illness.WRITES_BELOW: 1.5,
    Illness.WRITES_ABOVE: 3.0,
    Illness.WRITES_FAR_ABOVE: 6.0,
}
_ONE_FAILS_OF = {Illness.DEAD: 1, Illness.ERRORS: 10, Illness.SOME_ERRORS: 20, Illness.FEW_ERRORS: 50}


@dataclass(frozen=True, slots=True)
class Result:
    """Counts of steps and moves. `seconds`: 95th percentile from the illness to the trip, of sick steps found."""

    seed: int
    healthy_moves: int
    false_rollbacks: int
    sick_steps: int
    missed: int
    seconds: float

    @property
    def false_share(self) -> float:
        """Healthy moves that were rolled back."""
        return self.false_rollbacks / self.healthy_moves

    @property
    def missed_share(self) -> float:
        """Sick steps that ended without a trip."""
        return self.missed / self.sick_steps


@dataclass(frozen=True, slots=True)
class Near:
    """Of `steps` with an illness near a limit: how many were gone back on, and the median seconds that took."""

    illness: Illness
    steps: int
    found: int
    seconds: float


def near(seed: int, steps: int = 200, rate: float = 10.0, step_s: int = 45) -> list[Near]:
    """The gates before each illness near the limits, `steps` of each."""
    game, told = _Game(random.Random(seed), rate, step_s, judge_all=False), []  # noqa: S311 - can be repeated
    for illness in NEAR:
        found = [game.step(illness, 50) for _ in range(steps)]
        seconds = sorted(each for each in found if each is not None)
        told.append(Near(illness, steps, len(seconds), seconds[len(seconds) // 2] if seconds else math.inf))
    return told


def simulate(
    seed: int, steps: int = 10_000, rate: float = 10.0, step_s: int = 45, *, judge_all: bool = False
) -> Result:
    """Half of the steps belong to healthy moves (five each), half are sick steps of their own.

    `rate`: requests a second at green, at every share. `judge_all`: ask the gates in every second, also where by the
    counts no gate can trip: the same result, more slowly.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulation that can be repeated
    moves, sick = steps // 2 // len(STEPS), steps // 2
    game = _Game(chance, rate, step_s, judge_all)
    false = sum(any(game.step(Illness.NONE, share) is not None for share in STEPS) for _ in range(moves))
    found = [game.step(PLAIN[turn % len(PLAIN)], 50) for turn in range(sick)]
    seconds = sorted(each for each in found if each is not None)
    p95 = seconds[int(0.95 * len(seconds))] if seconds else math.inf
    return Result(seed, moves, false, sick, sick - len(seconds), p95)


@dataclass(frozen=True, slots=True)
class _Second:
    """Requests of one second at green; `slow`: how many took longer than their p95 gate's limit."""

    count: int
    errors: int
    reads: Sequence[float]
    writes: Sequence[float]
    slow_reads: int
    slow_writes: int


@dataclass(slots=True)
class _Step:
    """What is known of green within one step: sliding counts, kept up so that the gates need not be asked for them."""

    limit: float
    write_limit: float
    probe_limit: float
    kept: deque[_Second] = field(default_factory=deque)
    count: int = 0
    errors: int = 0
    reads: int = 0
    slow_reads: int = 0
    writes: int = 0
    slow_writes: int = 0
    probes: deque[float] = field(default_factory=lambda: deque(maxlen=_PROBES))
    failures: int = 0
    wrong: int = 0

    def take(
        self,
        read: Sequence[float | None],
        written: Sequence[float | None],
        probe: float | None,
        wrong: bool,
    ) -> None:
        """One more second; the oldest leaves."""
        reads, writes = (
            [each for each in read if each is not None],
            [each for each in written if each is not None],
        )
        count, limit, write_limit = len(read) + len(written), self.limit, self.write_limit
        second = _Second(
            count,
            count - len(reads) - len(writes),
            reads,
            writes,
            sum([each > limit for each in reads]),
            sum([each > write_limit for each in writes]),
        )
        self.kept.append(second)
        gone = self.kept.popleft() if len(self.kept) > SLOW_S else _NOTHING
        self.count += second.count - gone.count
        self.errors += second.errors - gone.errors
        self.reads += len(reads) - len(gone.reads)
        self.slow_reads += second.slow_reads - gone.slow_reads
        self.writes += len(writes) - len(gone.writes)
        self.slow_writes += second.slow_writes - gone.slow_writes
        self.failures = self.failures + 1 if probe is None else 0
        self.wrong = self.wrong + 1 if wrong else 0
        if probe is not None:
            self.probes.append(probe)

    def may_trip(self, limits: Limits) -> bool:
        """Whether any gate can trip at all. False is certain; True is for the gates to judge."""
        if self.errors >= limits.least_errors or max(self.failures, self.wrong) >= limits.failures:
            return True
        return (
            _exceeds(self.slow_reads, self.reads, limits)
            or _exceeds(self.slow_writes, self.writes, limits)
            or _exceeds(sum([each > self.probe_limit for each in self.probes]), len(self.probes), limits)
        )


_NOTHING = _Second(0, 0, (), (), 0, 0)


@dataclass(frozen=True, slots=True)
class _Base:
    """What is known of blue, in milliseconds."""

    reads: Sequence[float]
    writes: Sequence[float]
    probes: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Game:
    """The same chance and circumstances for all steps."""

    chance: random.Random
    rate: float
    step_s: int
    judge_all: bool
    limits: Limits = field(default_factory=Limits)

    def step(self, illness: Illness, share: int) -> float | None:
        """Seconds from the illness to the trip (of a healthy one: from the step's begin); None: no trip."""
        draw, sick = self.chance.choices, illness is not Illness.NONE
        onset = self.chance.randrange(self.step_s // 3) if sick else self.step_s
        base = _Base(draw(_blue(), k=200), draw(_blue(writes=True), k=60), draw(_blue(), k=_PROBES))
        now = _Step(
            p95_limit(base.reads, self.limits),
            write_limit(base.writes, self.limits, far=True),
            p95_limit(base.probes, self.limits),
        )
        read = draw(_arrivals(self.rate * (1 - _WRITES)), k=self.step_s)
        written = draw(_arrivals(self.rate * _WRITES), k=self.step_s)
        for second in range(self.step_s):
            is_ill = second >= onset
            state = illness if is_ill else Illness.NONE
            answers = draw(_green(state), k=read[second] + 1)
            writes = draw(_green_writes(state, safe=share == 100), k=written[second])
            now.take(answers[1:], writes, answers[0], illness is Illness.WRONG and is_ill)
            if not self.judge_all and not now.may_trip(self.limits):
                continue
            if self._trips(now, share, base):
                return second - onset if sick else second
        return None

    def _trips(self, now: _Step, share: int, base: _Base) -> bool:
        kept = list(now.kept)
        facts = Facts(
            share=share,
            owner_green=share == 100,
            fast=_window(kept[-FAST_S:]),
            slow=_window(kept),
            base=base.reads,
            base_writes=base.writes,
            blue=Probe(),
            green=Probe(failures=now.failures, wrong=now.wrong, latencies=list(now.probes)),
            base_probe=base.probes,
        )
        return judge(facts, self.limits).state is State.TRIP


def _exceeds(above: int, count: int, limits: Limits) -> bool:
    """Whether the value at the p95 bound's rank is among the `above` largest."""
    rank = p95_rank(count, limits.p95_z)
    return rank is not None and above >= count - rank


def _window(seconds: Sequence[_Second]) -> Window:
    return Window(
        sum(each.count for each in seconds),
        sum(each.errors for each in seconds),
        [value for each in seconds for value in each.reads],
        [value for each in seconds for value in each.writes],
    )


# Distributions, as lists whose members are equally likely


@cache
def _blue(*, writes: bool = False) -> tuple[float, ...]:
    """Milliseconds of blue's reads, or writes."""
    normal = NormalDist(math.log(_MEDIAN_MS * (2 if writes else 1)), _SPREAD)
    plain = [math.exp(normal.inv_cdf((place + 0.5) / _GRAIN)) for place in range(_GRAIN)]
    # One in fifty takes five times as long, whatever it would have taken.
    return tuple(value * 5 if place % 50 == 25 else value for place, value in enumerate(plain))


@cache
def _green(illness: Illness) -> tuple[float | None, ...]:
    """Milliseconds of green's reads; None: it failed."""
    return _ill([1.1 * each for each in _blue()], illness, _READS_SLOWER)


@cache
def _green_writes(illness: Illness, *, safe: bool) -> tuple[float | None, ...]:
    """The same of green's writes: forwarded, or in both regions before their answer."""
    factor, trips = (2.0, 2) if safe else (1.1, 1)
    return _ill([factor * each + trips * _TRIP_MS for each in _blue(writes=True)], illness, _WRITES_SLOWER)


def _ill(
    healthy: Sequence[float], illness: Illness, slower: Mapping[Illness, float]
) -> tuple[float | None, ...]:
    every = _ONE_FAILS_OF.get(illness, 1000)
    more = 200 if illness is Illness.SLOW else 0
    spent = [slower.get(illness, 1.0) * each + more for each in healthy]
    # An odd place, so that failures don't fall on the slow ones.
    return tuple(None if place % every == every // 7 else value for place, value in enumerate(spent))


@cache
def _arrivals(rate: float) -> tuple[int, ...]:
    """Requests that arrive in a second: Poisson's distribution by its quantiles."""
    share = reached = math.exp(-rate)
    count, found = 0, list[int]()
    for place in range(_GRAIN):
        while reached < (place + 0.5) / _GRAIN and share > 0:
            count += 1
            share *= rate / count
            reached += share
        found.append(count)
    return tuple(found)
