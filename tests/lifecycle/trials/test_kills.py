"""kill -9 at random moments: every request ends completed, with exactly one certificate and true counts."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.lifecycle.trials.live import OVER, Live


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, from /proc."""
    found, queue = [], [pid]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            children = [int(each) for each in task.read_text().split()]
            found += children
            queue += children
    return found


def storm(live: Live, request: str, kills: int, chance: random.Random) -> int:
    """Kills a random process of the cluster, or all of it, again and again until the request ends."""
    done = 0
    cluster = live.start_workers()
    ends = time.monotonic() + 60 + 25 * kills
    while time.monotonic() < ends:
        pause = time.monotonic() + chance.uniform(0.5, 4.0)
        while time.monotonic() < pause:
            time.sleep(0.1)
        if live.status(request)["state"] in OVER:
            return done
        if done >= kills:
            continue
        victims = [pid for pid in [cluster.pid, *descendants(cluster.pid)] if Path(f"/proc/{pid}").exists()]
        victim = chance.choice(victims) if victims else cluster.pid
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        done += 1
        if victim == cluster.pid:
            cluster.wait(10)
            cluster = live.start_workers()
    raise AssertionError(f"the request did not end: {live.status(request)}")


def _trial(live: Live, kills: int, seed: int) -> None:
    tenant, admin = live.tenant("ada", "bob")
    clean = live.ask("erasure", "request", "--tenant", tenant, "--user", "bob", "--requested-by", admin)
    counts = {
        name: each["found"] for name, each in live.ask("erasure", "preview", clean["id"])["systems"].items()
    }
    request = live.request(tenant, admin, "ada")
    storm(live, request, kills, random.Random(seed))
    now = live.over(request, 180)

    assert now["state"] == "completed", now
    assert [each for each in live.ask("certificate", "list") if each["request"] == request] != []
    assert len([each for each in live.ask("certificate", "list") if each["request"] == request]) == 1
    for name, each in now["systems"].items():
        assert each["residue"] == 0
        assert each["found"] == each["erased"] + each["anonymised"] + each["retained"], (name, each)
        assert each["found"] >= counts[name] > 0 or name == "backups", (name, each, counts)
    assert live.ask("audit", "verify")["whole"] is True


@pytest.mark.timeout(300)
def test_a_few_kills_lose_nothing(live: Live) -> None:
    _trial(live, kills=4, seed=int(os.environ.get("SEED", "4")))


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(6))
def test_many_kills_lose_nothing(live: Live, seed: int) -> None:
    _trial(live, kills=5, seed=seed)
