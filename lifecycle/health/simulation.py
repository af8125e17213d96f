"""How often the gates are wrong: simulated steps of moves, healthy and sick, judged every second as the watchdog does.

A healthy green fails 1 request in 1,000 and is 10 % slower than blue, with a slow request (five times) in fifty. A sick
one has one of four illnesses from a random second on.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from lifecycle.health.gates import Facts, Limits, Probe, State, judge
from lifecycle.health.meter import Window

STEPS = (10, 25, 50, 75, 100)
FAST_S, SLOW_S = 5, 30
_MEDIAN_MS, _SPREAD = 20.0, 0.5


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


def simulate(seed: int, steps: int = 10_000, rate: float = 10.0, step_s: int = 45) -> Result:
    """Half of the steps belong to healthy moves (five each), half are sick steps of their own.

    `rate`: requests a second at green, at every share.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulation that can be repeated
    moves, sick = steps // 2 // len(STEPS), steps // 2
    false = sum(
        any(_step(chance, Illness.NONE, rate, step_s, share) is not None for share in STEPS)
        for _ in range(moves)
    )
    illnesses = [each for each in Illness if each is not Illness.NONE]
    found = [_step(chance, illnesses[turn % len(illnesses)], rate, step_s, 50) for turn in range(sick)]
    seconds = sorted(each for each in found if each is not None)
    p95 = seconds[int(0.95 * len(seconds))] if seconds else math.inf
    return Result(seed, moves, false, sick, sick - len(seconds), p95)


def _step(chance: random.Random, illness: Illness, rate: float, step_s: int, share: int) -> float | None:
    """Seconds from the illness to the trip (of a healthy one: from the step's begin); None: no trip."""
    onset = chance.randrange(step_s // 3) if illness is not Illness.NONE else step_s
    limits = Limits()
    base = [_latency(chance) for _ in range(200)]
    base_probe = [_latency(chance) for _ in range(30)]
    for second, (seconds, probe) in enumerate(_seconds(chance, illness, onset, rate, step_s)):
        facts = Facts(
            share=share,
            owner_green=False,
            fast=_window(list(seconds)[-FAST_S:]),
            slow=_window(seconds),
            base=base,
            blue=Probe(),
            green=probe,
            base_probe=base_probe,
        )
        if judge(facts, limits).state is State.TRIP:
            return second - onset if illness is not Illness.NONE else second
    return None


def _seconds(
    chance: random.Random, illness: Illness, onset: int, rate: float, step_s: int
) -> Iterator[tuple[deque[Window], Probe]]:
    kept: deque[Window] = deque(maxlen=SLOW_S)
    probes: deque[float] = deque(maxlen=16)
    failures = wrong = 0
    for second in range(step_s):
        now = illness if second >= onset else Illness.NONE
        answers = [_request(chance, now) for _ in range(_poisson(chance, rate))]
        good = [each for each in answers if each is not None]
        kept.append(Window(len(answers), len(answers) - len(good), good))
        probe = _request(chance, now)
        failures = failures + 1 if probe is None else 0
        wrong = wrong + 1 if now is Illness.WRONG else 0
        if probe is not None:
            probes.append(probe)
        yield kept, Probe(failures=failures, wrong=wrong, latencies=list(probes))


def _request(chance: random.Random, illness: Illness) -> float | None:
    failing = {Illness.DEAD: 1.0, Illness.ERRORS: 0.1}.get(illness, 0.001)
    if chance.random() < failing:
        return None
    spent = 1.1 * _latency(chance)
    return 4 * spent + 200 if illness is Illness.SLOW else spent


def _latency(chance: random.Random) -> float:
    spent = chance.lognormvariate(math.log(_MEDIAN_MS), _SPREAD)
    return spent * 5 if chance.random() < 0.02 else spent


def _window(seconds: list[Window] | deque[Window]) -> Window:
    return Window(
        sum(each.count for each in seconds),
        sum(each.errors for each in seconds),
        [value for each in seconds for value in each.latencies],
    )


def _poisson(chance: random.Random, mean: float) -> int:
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count
