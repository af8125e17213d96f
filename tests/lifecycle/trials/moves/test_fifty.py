"""Many moves at once: four copy, the rest queue; the watchdog looks at each live one every 2 s; nothing is left."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.lifecycle.trials.moves.fleet import Fleet
from tests.lifecycle.trials.moves.moving import BLUE, GREEN, Moving

MOVES = int(os.environ.get("TRIAL_FLEET", "50"))
LOOKS = 2.0  # seconds
WATCHED = 60.0
COPYING = COMPARING = 4
Say = Callable[[str], None]
BURST = 20_000  # rows of a resident, to see what each slot costs


@pytest.mark.chaos
@pytest.mark.timeout(5400)
def test_fifty_moves_at_once(moving: Moving, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet(moving)

    def say(sentence: str) -> None:
        with capsys.disabled():
            print(f"{time.strftime('%H:%M:%S')} {sentence}", flush=True)

    try:
        fleet.begin(MOVES)
        say(f"{MOVES} moves are started")
        took = fleet.until(lambda now: now["waits"] + now["rolled_back"] == MOVES, 2400)
        say(
            f"all flipped and soaked, or went back, after {took:.0f} s: {dict(fleet.states())} {fleet.troubles()}"
        )
        _watched(fleet, say)
        _burst(fleet, say)
        say(f"peaks: {fleet.peak}; copying {fleet.copying}, comparing {fleet.comparing}")
        _within_limits(fleet)
        fleet.complete()
        took = fleet.until(lambda now: now["completed"] + now["rolled_back"] == MOVES, 2400)
        say(f"all completed after {took:.0f} s: {dict(fleet.states())}")
    finally:
        fleet.end()
    back = fleet.discard()
    say(f"completed: {fleet.states()['completed']}, went back: {len(back)} {fleet.troubles()}")
    # Two cores carry everything here: a green that answers late may go back, and must do so without a trace.
    assert len(back) <= MOVES // 10, fleet.troubles()
    places = {move: number for number, move in enumerate(fleet.moves)}
    overtaken = [places[move] - turn for turn, move in enumerate(fleet.turns())]
    assert max(overtaken) < COPYING, "nobody overtakes but those whose turn it is together"
    assert fleet.copying <= COPYING
    assert fleet.comparing <= COMPARING
    assert fleet.left() == []


def _watched(fleet: Fleet, say: Say) -> None:
    """One minute in which all are live."""
    began, spent, log = time.time(), fleet.spent(), [fleet.lsn(each) for each in (BLUE, GREEN)]
    time.sleep(WATCHED)
    ended = time.time() - 2.0  # readings are written after they are taken
    seconds = time.time() - began
    cost = {name: (value - spent.get(name, 0.0)) / seconds for name, value in fleet.spent().items()}
    for name, value in sorted(cost.items(), key=lambda each: -each[1]):
        if value >= 0.005:
            say(f"  {value:6.1%} of a core: {name}")
    grown = [
        (fleet.lsn(each) - before) / seconds / 1024 for each, before in zip((BLUE, GREEN), log, strict=True)
    ]
    say(f"log: blue {grown[0]:.0f}, green {grown[1]:.0f} KiB/s")
    verdicts = Counter(each["verdict"] for each in fleet.readings(began, ended))
    gaps = fleet.gaps(began, ended, fleet.live())
    assert len(gaps) >= 0.9 * MOVES, fleet.troubles()
    ordered = sorted(gaps.values())
    say(
        f"looks: longest gap {ordered[-1]:.2f} s, median of the longest {ordered[len(ordered) // 2]:.2f} s; {dict(verdicts)}"
    )
    late = {move: gap for move, gap in gaps.items() if gap > LOOKS}
    assert not late, late


def _burst(fleet: Fleet, say: Say) -> None:
    """What a resident's writes cost green, where the slots of all moves in soak stand: each decodes all of the log."""
    senders = f"postgres-{GREEN} walsender"
    began, before, log = time.monotonic(), fleet.spent().get(senders, 0.0), fleet.lsn(GREEN)
    fleet.write(
        GREEN,
        "INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256)"
        " SELECT 'ballast', 'ballast-' || n, 'nobody', repeat('x', 300), '', '' FROM generate_series(1, %s) n",
        BURST,
    )
    wrote, size, mark = time.monotonic() - began, fleet.lsn(GREEN) - log, fleet.lsn(GREEN)
    caught = "SELECT count(*) FROM pg_replication_slots WHERE confirmed_flush_lsn - '0/0'::pg_lsn < %s"
    while fleet.region(GREEN, caught, mark)[0][0]:
        assert time.monotonic() - began < 300, "the followers do not catch up"
        time.sleep(0.2)
    took, slots = (
        time.monotonic() - began,
        fleet.region(GREEN, "SELECT count(*) FROM pg_replication_slots")[0][0],
    )
    used = fleet.spent().get(senders, 0.0) - before
    fleet.write(GREEN, "DELETE FROM documents WHERE tenant_id = 'ballast'")
    say(
        f"burst of {BURST} rows of a resident: {size / 1e6:.1f} MB of log in {wrote:.1f} s; {slots} slots had read it after "
        f"{took:.1f} s and {used:.1f} s of processor, {used / slots / (size / 1e6) * 1000:.0f} ms a slot and MB"
    )


def _within_limits(fleet: Fleet) -> None:
    for region in (BLUE, GREEN):
        for name, limit in fleet.limits(region).items():
            assert fleet.peak[region][name] < limit, (region, name, fleet.peak[region][name], limit)
