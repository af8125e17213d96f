"""Moves with a fault at some moment end completed or rolled back, and lose no acknowledged write."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass

import pytest

from tests.lifecycle.trials.moves.moving import BLUE, ENDS, GREEN, OURS, Moving

MOVES, FIRST = int(os.environ.get("TRIAL_MOVES", "30")), int(os.environ.get("TRIAL_FIRST", "0"))
SEED = 20261125
FAULTS = ("dead", "region", "crash", "database", "watchdog", "errors", "shut", "hang", "applier", "wrong", "qcluster",
          "latency")  # fmt: skip
# Slowness is judged against blue: it takes requests enough to compare.
LIMIT = {"latency": 15.0}
NOTICED = 25.0  # seconds after which a green that nobody took back counts as healthy
COMPLETE, STARTED = "traffic_cutover_complete", "traffic_cutover_started"


@pytest.mark.timeout(400)
def test_all_of_ours_are_killed_then_green_fails_after_the_flip(moving: Moving) -> None:
    """Short cut of the trial below: kill -9 of each process of ours during the copy; 5xx of green once it owns."""
    moving.begin()
    moving.until(lambda now: now[0] in ("initial_sync", "incremental_sync"))
    for name in OURS:
        moving.kill(name)
    moving.until(lambda now: now[0] == COMPLETE, 240)
    fault = moving.inflict("errors")
    try:
        moving.until(lambda now: now[0] in ENDS, 60)
        _goes_on(moving, fault)
    finally:
        moving.heal("errors")
    assert moving.now()[0] == "rolled_back"
    first, last = moving.after(fault)
    # The goal of 5 s is the long trial's: here other tests share the two cores.
    assert first <= 15 and last <= 15, f"{first:.1f} s to the first write on blue, {last:.1f} s of failures"
    assert moving.missing() == []
    assert _discarded(moving) == []


@dataclass(frozen=True, slots=True)
class Told:
    """What one move with a fault came to. Seconds from the fault; `late`: losses that no reading had shown."""

    fault: str
    moment: str
    soak: str
    state: str
    blue: float
    failing: float
    missing: int
    late: int
    two_owners: int
    left: tuple[str, ...]

    def line(self) -> str:
        """One row of the table."""
        return (
            f"{self.fault:9} {self.moment:14} {self.soak:4} {self.state:11} blue after {self.blue:5.1f} s, failures for "
            f"{self.failing:5.1f} s, missing {self.missing} ({self.late} unannounced), two owners {self.two_owners}, "
            f"left {len(self.left)}"
        )


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_thirty_moves_with_a_fault_at_a_random_moment(
    moving: Moving, capsys: pytest.CaptureFixture[str]
) -> None:
    table: list[Told] = []
    for number in range(FIRST, FIRST + MOVES):
        chance = random.Random(SEED + number)
        told = _one(moving, FAULTS[number % len(FAULTS)], "fast" if number % 3 == 2 else "safe", chance)
        table.append(told)
        with capsys.disabled():
            print(number, told.line(), flush=True)
    for told in table:
        assert told.state in ("completed", "rolled_back"), told
        assert not (told.left or told.two_owners or told.late), told
        assert told.soak == "fast" or not told.missing, told
    for slow in (True, False):
        back = [each for each in table if each.state == "rolled_back" and (each.fault in LIMIT) == slow]
        for values in ([each.blue for each in back], [each.failing for each in back]):
            limit = max(LIMIT.values()) if slow else 5.0
            assert not values or sorted(values)[int(0.95 * (len(values) - 1))] <= limit, table


def _one(moving: Moving, fault: str, soak: str, chance: random.Random) -> Told:
    moving.begin("--hold-seconds", "30", soak=soak)
    moment = _moment(moving, chance)
    shown = moving.reading()
    at = moving.inflict(fault)
    try:
        moving.until(lambda now: now[0] in ENDS or (now[0] == COMPLETE and _settled(moving, fault, at)), 240)
        if moving.now()[0] not in ENDS:
            _complete(moving)
        _goes_on(moving, at)
    finally:
        moving.heal(fault)
    state, took = moving.now()[0], moving.after(at)
    if state == "rolled_back":
        _undone(moving)
    lost = {each.id: each.at for each in moving.missing()}
    known_until = shown["at"] - float(shown.get("lag_s") or 0) - 1
    left = _discarded(moving) if state == "rolled_back" else moving.left()
    return Told(
        fault, moment, soak, state, *took, len(lost), sum(1 for each in lost.values() if each < known_until),
        moving.two_owners(), tuple(left),
    )  # fmt: skip


def _settled(moving: Moving, fault: str, at: float) -> bool:
    """The move waits for its second person, and a fault of green had its time to be noticed."""
    return (fault in OURS or time.time() - at > NOTICED) and _waits(moving)


def _moment(moving: Moving, chance: random.Random) -> str:
    """Waits for a random moment of the cutover or the soak; its name."""
    share = chance.choice((50, 100, 101))
    moving.until(
        lambda now: now[0] == (STARTED if share <= 100 else COMPLETE) and now[1] >= min(share, 100), 240
    )
    time.sleep(chance.uniform(0, 2))
    state, now, owner = moving.now()
    return "after the flip" if owner == GREEN and state == COMPLETE else f"at {now} %"


def _waits(moving: Moving) -> bool:
    return "second person" in str(moving.live.ask("migration", "status", moving.move)["why"])


def _complete(moving: Moving) -> None:
    moving.live.ask("migration", "complete", moving.move, "--as", "engineer2")
    moving.until(lambda now: now[0] in ENDS, 240)


def _goes_on(moving: Moving, since: float) -> None:
    """The load goes on long enough to see whether writes are acknowledged again."""
    ends = time.monotonic() + 30
    owner = BLUE if moving.now()[0] == "rolled_back" else GREEN
    while time.monotonic() < ends and owner == BLUE and moving.after(since)[0] == float("inf"):
        time.sleep(0.2)


def _undone(moving: Moving) -> None:
    """What green wrote last has arrived on blue: the run of the move has ended."""
    ends = time.monotonic() + 120
    while moving.live.ask("migration", "status", moving.move)["run_state"] != "cancelled":
        assert time.monotonic() < ends, moving.live.ask("migration", "status", moving.move)
        time.sleep(0.5)


def _discarded(moving: Moving) -> list[str]:
    """Kept green is given up; what is left of the move in either region then."""
    ends = time.monotonic() + 120
    while (done := moving.live.call("migration", "discard", moving.move, "--as", "engineer")).returncode:
        assert time.monotonic() < ends, done
        time.sleep(0.5)
    ends = time.monotonic() + 240
    while (left := moving.left()) and time.monotonic() < ends:
        time.sleep(0.2)
    return left
