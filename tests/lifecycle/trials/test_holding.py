"""A hold in the middle of an erasure: once `hold place` has returned, no server shows a deletion in its scope."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from tests.lifecycle.trials.live import Live
from tests.lifecycle.trials.moments import TROUBLES, Moment, place, release, say
from tests.lifecycle.trials.scene import Scene

STRETCH = 3.6  # with what a request itself takes, a batch of about four seconds
SLOW = 2.0
OBJECTS = 240  # four batches: eight requests of eight keys are on their way at once, and no others
UPLOADS = 40  # for each further hold
HARD = [name for name in TROUBLES if name != "none"]


def _moments(seed: int) -> list[Moment]:
    """Twenty-five holds of one erasure: ten inside a batch of four seconds with each trouble in turn, eight inside a batch
    of any length, seven at any moment of the erasure."""
    chance = random.Random(seed)
    stretched = [Moment(HARD[(seed + n) % len(HARD)], STRETCH) for n in range(10)]
    inside = [Moment(chance.choice(list(TROUBLES)), chance.uniform(0.5, 2.5)) for _ in range(8)]
    anywhere = [
        Moment(chance.choice(list(TROUBLES)), chance.uniform(0.3, 0.8), inside=False) for _ in range(7)
    ]
    drawn = stretched + inside + anywhere
    chance.shuffle(drawn)
    return drawn


def _trial(live: Live, chance: random.Random, moments: list[Moment]) -> None:
    uploads = UPLOADS * (len(moments) - 1)
    tried: Counter[str] = Counter()
    scene = Scene(live, moments[0].delay, OBJECTS, uploads)
    live.start_workers()
    for number, moment in enumerate(moments):
        scene.relay.delay = moment.delay
        placed = place(scene, chance, moment, whole=chance.random() < 0.5)
        say(
            f"{moment}: in force after {placed.seconds:.2f} s, command {placed.command:.2f} s, {placed.fell_on}"
            + (f", {placed.begun} keys of begun requests" if placed.begun else "")
        )
        assert placed.late == [], (moment, len(placed.late), placed.late[:3])
        assert placed.lost == {}, (moment, placed.lost)
        assert placed.command <= 10, (moment, placed.seconds, placed.command)
        assert placed.running, "the hold fell after the erasing"
        tried[moment.kind] += 1
        scene.relay.delay = 0 if number + 1 == len(moments) else moments[number + 1].delay
        release(live, placed.hold)
    scene.until(lambda: scene.state() in ("completed", "failed"), "the end", 200)
    done = live.ask("erasure", "status", scene.request)
    assert done["state"] == "completed", done
    line = done["systems"]["s3"]
    assert line["found"] == line["erased"] >= OBJECTS + uploads, line
    assert line["residue"] == 0
    scene.relay.close()
    say(f"tried: {dict(sorted(tried.items()))}")


@pytest.mark.timeout(300)
def test_nothing_is_deleted_once_a_hold_is_placed(live: Live) -> None:
    chance = random.Random(os.environ.get("SEED", "14"))
    _trial(live, chance, [Moment("worker stopped", 1.5)])


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_with_the_fence_off_the_trial_finds_late_deletions(live: Live) -> None:
    live.environment["FENCE_ENABLED"] = "0"
    scene = Scene(live, SLOW, OBJECTS)
    live.start_workers()
    placed = place(scene, random.Random(1), Moment("worker stopped", SLOW), whole=False)
    say(f"{len(placed.late)} late")
    assert placed.late, "without its fence a worker that wakes goes on deleting; this trial must see it"
    scene.relay.close()


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_holds_at_random_moments(live: Live, seed: int) -> None:
    _trial(live, random.Random(seed), _moments(seed))
