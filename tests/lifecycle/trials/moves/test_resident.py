"""A resident of green at 50 requests a second while others are copied into it at a limited pace: it notices little.

Windows without and with a copy take turns in one run, so that what else the machine does falls on both.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from statistics import median

import pytest

from bench import sets
from demo.load.ledger import Entry, entries
from demo.load.summary import percentile
from tests.lifecycle.trials.moves.fleet import Fleet
from tests.lifecycle.trials.moves.moving import BLUE, GREEN, Moving

RATE, LIMIT = 50.0, 1.2
ROUNDS, WINDOW = int(os.environ.get("TRIAL_ROUNDS", "5")), float(os.environ.get("TRIAL_WINDOW", "20"))
SETTLES = 3.0
# What the copy may take each second; each store has more than two windows' worth.
PACE = {
    "postgresql": {"rows_per_second": 500},
    "s3": {"objects_per_second": 5, "bytes_per_second": 100_000},
    "pinecone": {"vectors_per_second": 50},
}
_NONE: dict[str, dict[str, int]] = {}


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_residents_p95_while_others_are_copied(
    moving: Moving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, ledger = Fleet(moving), tmp_path / "resident.jsonl"
    resident, mover = f"r{secrets.token_hex(4)}", f"c{secrets.token_hex(4)}"
    for tenant, region in ((resident, GREEN), (mover, BLUE)):
        done = moving.live.call("demo", "tenant", tenant, "--users", "ada", "--region", region)
        assert done.returncode == 0, done.stderr
    longest = 3 * (WINDOW + SETTLES)
    place = moving.stack["regions"][BLUE]
    sets.rows(place, mover, int(PACE["postgresql"]["rows_per_second"] * longest))
    sets.objects(place, mover, int(PACE["s3"]["objects_per_second"] * longest))
    sets.vectors(place, mover, int(PACE["pinecone"]["vectors_per_second"] * longest))
    moving.start(
        # As many documents go as come: with ever more of them every request would grow slower by itself.
        "load", "-m", "demo.load", "--tenant", resident, "--rate", str(RATE), "--seconds", "3600",
        "--writes", "0.2", "--deletes", "0.2",
        "--ledger", str(ledger), "--url", moving.stack["regions"][GREEN]["app"],
    )  # fmt: skip
    time.sleep(SETTLES)
    alone, beside = list[tuple[float, float]](), list[tuple[float, float]]()
    fleet.words("throttle", mover, PACE)
    for _ in range(ROUNDS):
        alone.append(_window())
        beside.append(_copying(fleet, mover))
    fleet.words("throttle", mover, _NONE)
    unpaced = _copying(fleet, mover, whole=False)
    moving.processes.pop("load").terminate()
    seen = list(entries(ledger))
    pairs = [(_p95(seen, [a]), _p95(seen, [b])) for a, b in zip(alone, beside, strict=True)]
    before, during = _p95(seen, alone), _p95(seen, beside)
    counts = [sum(each.at >= a and each.at < b for each in seen) / (b - a) for a, b in (*alone, *beside)]
    with capsys.disabled():
        for one, other in pairs:
            print(f"  alone {one:.1f} ms, beside a copy {other:.1f} ms: {other / one:.2f}")
        print(
            f"p95 alone {before:.1f} ms, beside a paced copy {during:.1f} ms: ratio {during / before:.2f} (median of the pairs "
            f"{median(b / a for a, b in pairs):.2f}); without a pace {_p95(seen, [unpaced]):.1f} ms, ratio "
            f"{_p95(seen, [unpaced]) / before:.2f}; {min(counts):.1f} to {max(counts):.1f} requests a second",
            flush=True,
        )
    assert not [each for each in seen if each.failed]
    assert min(counts) > 0.9 * RATE, "the load was not what it should be"
    assert during / before < LIMIT, pairs


def _window(seconds: float = WINDOW) -> tuple[float, float]:
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


def _copying(fleet: Fleet, tenant: str, *, whole: bool = True) -> tuple[float, float]:
    """A window in which the tenant is being copied; then its move is cancelled and all of it is undone.

    Not `whole`: the window ends with the copy.
    """
    (move,) = (each["move"] for each in fleet.words("move", tenant))
    fleet.moves = {move: tenant}
    fleet.until(lambda now: now["initial_sync"] == 1, 120)
    rows = "SELECT count(*) FROM queries WHERE tenant_id = %s"
    if whole:
        time.sleep(SETTLES)
        window = _window()
        assert fleet.states()["initial_sync"] == 1, "the copy was over before its window"
        under_way = fleet.control(
            "SELECT count(*) FROM lifecycle_step s JOIN lifecycle_migration m ON m.run_id = s.run_id WHERE m.id = %s"
            " AND s.name = 'copy' AND s.lane IN ('postgresql', 's3', 'pinecone') AND s.state <> 'done'",
            move,
        )
        assert under_way == [(3,)], "every store was being copied all along"
    else:
        began = time.time()
        fleet.until(lambda now: not now["initial_sync"], 300)
        window = (began, time.time())
    fleet.words("cancel", move)
    fleet.until(lambda now: now["rolled_back"] == 1, 300)
    assert fleet.region(GREEN, rows, tenant) == [(0,)]
    time.sleep(SETTLES)
    return window


def _p95(seen: list[Entry], windows: list[tuple[float, float]]) -> float:
    return percentile([each for each in seen if any(a <= each.at < b for a, b in windows)], 0.95)
