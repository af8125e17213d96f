"""Verdicts of the gates: silence never advances, chance never trips, sickness does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lifecycle.health.gates import Facts, Limits, Probe, State, judge, wilson_lower
from lifecycle.health.meter import Window
from lifecycle.health.simulation import Illness, near, simulate

LIMITS = Limits()
WELL = Facts(
    share=50,
    owner_green=False,
    fast=Window(100, 0, [10.0] * 100),
    slow=Window(600, 1, [10.0] * 599),
    base=[10.0] * 200,
    base_writes=[40.0] * 200,
    base_probe=[5.0] * 30,
    blue=Probe(),
    green=Probe(latencies=[5.0] * 16),
)


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("health", {"green": Probe(failures=3)}),
        ("answers", {"green": Probe(wrong=3)}),
        ("database", {"database_failures": 3}),
        ("errors", {"fast": Window(20, 20)}),
        ("errors", {"slow": Window(600, 40)}),
        ("p95 reads", {"slow": Window(100, 0, [10.0] * 80 + [200.0] * 20)}),
        # Slow reads among many writes that are slow by design
        ("p95 reads", {"slow": Window(900, 0, [10.0] * 80 + [200.0] * 20, [200.0] * 800)}),
        ("p95 writes", {"slow": Window(700, 0, [10.0] * 600, [10.0] * 80 + [340.0] * 20)}),
        ("p95 writes", {"slow": Window(700, 0, [10.0] * 600, [100.0] * 100), "far": False}),
        ("probe p95", {"green": Probe(latencies=[200.0] * 16)}),
        ("conflicts", {"conflicts": 1}),
        ("residue", {"residue": 3}),
        ("data", {"heard_age_s": 21.0}),
        ("data", {"lag_age_s": 21.0}),
    ],
)
def test_it_goes_back(gate: str, change: dict[str, Any]) -> None:
    verdict = judge(replace(WELL, **change), LIMITS)
    assert (verdict.state, verdict.gate) == (State.TRIP, gate)
    assert verdict.why.endswith(".")


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("data", {"heard_age_s": 5.0}),
        ("data", {"green": Probe(age_s=5.0)}),
        ("way back", {"ready_back": False}),
        ("way back", {"lag_s": None}),
        ("way back", {"lag_s": 11.0}),
    ],
)
def test_it_is_held(gate: str, change: dict[str, Any]) -> None:
    verdict = judge(replace(WELL, **change), LIMITS)
    assert (verdict.state, verdict.gate) == (State.HOLD, gate)


def test_a_green_that_fails_together_with_blue_is_held() -> None:
    both = replace(WELL, green=Probe(failures=3), blue=Probe(failures=3))
    assert judge(both, LIMITS).state is State.HOLD
    assert "Blue fails too" in judge(both, LIMITS).why


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"fast": Window(3, 3)},  # three requests are too few to say
        {"slow": Window(600, 6)},
        {"slow": Window(15, 0, [500.0] * 15)},
        {"slow": Window(100, 0, [10.0] * 98 + [900.0] * 2)},
        {"slow": Window(100, 0, [59.0] * 100)},  # six times blue's, yet within the floor
        # Forwarded, or in both regions before the answer: 2 * 40 ms and 250 ms
        {"slow": Window(700, 0, [10.0] * 600, [329.0] * 100)},
        {"slow": Window(700, 0, [10.0] * 600, [89.0] * 100), "far": False},
        {"slow": Window(700, 0, [10.0] * 600, [900.0] * 100), "base_writes": [40.0] * 15},
        {"green": Probe(failures=2, wrong=2)},
    ],
)
def test_chance_does_not_trip(change: dict[str, Any]) -> None:
    assert judge(replace(WELL, **change), LIMITS).state is State.OK


def test_limits_come_from_settings_and_unknown_names_are_ignored() -> None:
    limits = Limits.of({"error_rate": 0.5, "min_requests": 3, "write_ms": 100, "other": 1})
    assert (limits.error_rate, limits.least_samples, limits.write_ms) == (0.5, 3, 100)
    assert judge(replace(WELL, slow=Window(600, 40)), limits).state is State.OK


def test_wilson() -> None:
    assert wilson_lower(0, 0, 2.0) == 0.0
    # R's prop.test(10, 100, correct = FALSE): 0.0552 to 0.1744
    assert wilson_lower(10, 100, 1.96) == pytest.approx(0.0552, abs=1e-4)


@pytest.mark.parametrize("rate", [10.0, 40.0])
def test_simulated_moves_are_rarely_judged_wrongly(rate: float) -> None:
    result = simulate(seed=20, steps=200, rate=rate)
    assert result.false_share <= 0.05  # 20 moves; `make bench` runs 10,000 steps against 0.005
    assert result.missed_share <= 0.01
    assert result.seconds <= 15


def test_near_the_limits_what_is_below_stays_and_what_is_above_goes_back() -> None:
    told = {each.illness: each for each in near(seed=3, steps=20)}
    assert told[Illness.READS_BELOW].found == told[Illness.WRITES_BELOW].found == 0
    for above in (Illness.READS_ABOVE, Illness.WRITES_FAR_ABOVE, Illness.SOME_ERRORS):
        assert told[above].found >= 15


def test_seconds_that_are_not_judged_could_not_have_tripped() -> None:
    quick, whole = (simulate(seed=7, steps=120, judge_all=judged) for judged in (False, True))
    assert quick == whole
    assert quick.missed < quick.sick_steps
