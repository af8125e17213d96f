"""How often the gates are wrong: simulated steps of moves, healthy and sick, judged every second as the watchdog does.

A healthy green fails 1 request in 1,000 and is 10 % slower than blue, with a slow request (five times) in fifty. A sick
one has one of four illnesses from a random second on.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from statistics import NormalDist

from lifecycle.health.gates import Facts, Limits, Probe, State, judge, p95_limit, p95_rank
from lifecycle.health.meter import Window

STEPS = (10, 25, 50, 75, 100)
FAST_S, SLOW_S = 5, 30
_PROBES = 16
_MEDIAN_MS, _SPREAD = 20.0, 0.5
_GRAIN = 20_000  # quantiles that a distribution is drawn from; the rarest thing in it has a share of 0.001


class Illness(StrEnum):
    NONE = "none"
    ERRORS = "errors"  # one request in ten fails
    DEAD = "dead"  # every request fails, probes too
    SLOW = "slow"  # four times slower, and 200 ms
    WRONG = "wrong"  # known questions are answered wrongly


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
    illnesses = [each for each in Illness if each is not Illness.NONE]
    found = [game.step(illnesses[turn % len(illnesses)], 50) for turn in range(sick)]
    seconds = sorted(each for each in found if each is not None)
    p95 = seconds[int(0.95 * len(seconds))] if seconds else math.inf
    return Result(seed, moves, false, sick, sick - len(seconds), p95)


@dataclass(frozen=True, slots=True)
class _Second:
    """Requests of one second at green; `slow`: how many took longer than the p95 gate's limit."""

    count: int
    errors: int
    latencies: Sequence[float]
    slow: int


@dataclass(slots=True)
class _Step:
    """What is known of green within one step: sliding counts, kept up so that the gates need not be asked for them."""

    limit: float
    probe_limit: float
    kept: deque[_Second] = field(default_factory=deque)
    count: int = 0
    errors: int = 0
    slow: int = 0
    probes: deque[float] = field(default_factory=lambda: deque(maxlen=_PROBES))
    failures: int = 0
    wrong: int = 0

    def take(self, answers: Sequence[float | None], probe: float | None, wrong: bool) -> None:
        """One more second; the oldest leaves."""
        good = [each for each in answers if each is not None]
        failed, limit = len(answers) - len(good), self.limit
        second = _Second(len(answers), failed, good, sum([each > limit for each in good]))
        self.kept.append(second)
        gone = self.kept.popleft() if len(self.kept) > SLOW_S else _NOTHING
        self.count += second.count - gone.count
        self.errors += second.errors - gone.errors
        self.slow += second.slow - gone.slow
        self.failures = self.failures + 1 if probe is None else 0
        self.wrong = self.wrong + 1 if wrong else 0
        if probe is not None:
            self.probes.append(probe)

    def may_trip(self, limits: Limits) -> bool:
        """Whether any gate can trip at all. False is certain; True is for the gates to judge."""
        if self.errors >= limits.least_errors or max(self.failures, self.wrong) >= limits.failures:
            return True
        answered = self.count - self.errors
        return _exceeds(self.slow, answered, limits) or _exceeds(
            sum([each > self.probe_limit for each in self.probes]), len(self.probes), limits
        )


_NOTHING = _Second(0, 0, (), 0)


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
        base, base_probe = draw(_blue(), k=200), draw(_blue(), k=30)
        now = _Step(p95_limit(base, self.limits), p95_limit(base_probe, self.limits))
        healthy, ill = _green(Illness.NONE), _green(illness)
        for second, number in enumerate(draw(_arrivals(self.rate), k=self.step_s)):
            answers = draw(ill if second >= onset else healthy, k=number + 1)
            now.take(answers[1:], answers[0], illness is Illness.WRONG and second >= onset)
            if not self.judge_all and not now.may_trip(self.limits):
                continue
            if self._trips(now, share, base, base_probe):
                return second - onset if sick else second
        return None

    def _trips(self, now: _Step, share: int, base: Sequence[float], base_probe: Sequence[float]) -> bool:
        kept = list(now.kept)
        facts = Facts(
            share=share,
            owner_green=False,
            fast=_window(kept[-FAST_S:]),
            slow=_window(kept),
            base=base,
            blue=Probe(),
            green=Probe(failures=now.failures, wrong=now.wrong, latencies=list(now.probes)),
            base_probe=base_probe,
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
        [value for each in seconds for value in each.latencies],
    )


# Distributions, as lists whose members are equally likely


@cache
def _blue() -> tuple[float, ...]:
    """Milliseconds of blue's requests."""
    normal = NormalDist(math.log(_MEDIAN_MS), _SPREAD)
    plain = [math.exp(normal.inv_cdf((place + 0.5) / _GRAIN)) for place in range(_GRAIN)]
    # One in fifty takes five times as long, whatever it would have taken.
    return tuple(value * 5 if place % 50 == 25 else value for place, value in enumerate(plain))


@cache
def _green(illness: Illness) -> tuple[float | None, ...]:
    """Milliseconds of green's requests; None: it failed."""
    every = {Illness.DEAD: 1, Illness.ERRORS: 10}.get(illness, 1000)
    spent = [1.1 * each for each in _blue()]
    if illness is Illness.SLOW:
        spent = [4 * each + 200 for each in spent]
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
