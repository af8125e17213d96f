"""kill -9 at random moments: every request ends completed, with exactly one certificate and true counts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import pytest

from demo.stack import control
from tests.lifecycle.trials.live import OVER, Live

# Not moto: it holds its log groups in memory only, so that a kill is itself the erasure.
SERVERS = (
    "postgres-control",
    "postgres-us-east-1",
    "s3-us-east-1",
    "s3-vault",
    "redis-us-east-1",
    "pinecone-us-east-1",
    "prometheus-us-east-1",
    "datadog",
)


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, from /proc."""
    found, queue = [], [pid]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            children = [int(each) for each in task.read_text().split()]
            found += children
            queue += children
    return found


@dataclass
class Storm:
    """Kills, again and again, something at random until the request ends: one process of the cluster, all of it, a server."""

    live: Live
    chance: random.Random
    servers: tuple[str, ...] = ()
    killed: Counter[str] = field(default_factory=Counter)

    def over(self, request: str, kills: int) -> None:
        """Kills at most `kills` times; returns when the request has ended."""
        cluster = self.live.start_workers()
        ends = time.monotonic() + 120 + 25 * kills
        while time.monotonic() < ends:
            pause = time.monotonic() + self.chance.uniform(0.5, 4.0)
            while time.monotonic() < pause:
                time.sleep(0.1)
            if self._state(request) in OVER:
                return
            if self.killed.total() >= kills:
                continue
            if self.servers and self.chance.random() < 0.5:
                self._server()
            else:
                cluster = self._worker(cluster)
        raise AssertionError(f"the request did not end: {self.live.status(request)}")

    def _state(self, request: str) -> str:
        with suppress(psycopg2.OperationalError):  # the database is the one that was killed
            return self.live.state(request)
        return ""

    def _server(self) -> None:
        name = self.chance.choice(self.servers)
        control.restart(self.live.run_dir, name)
        self.killed[name] += 1

    def _worker(self, cluster: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        victims = [p for p in [cluster.pid, *descendants(cluster.pid)] if Path(f"/proc/{p}").exists()]
        victim = self.chance.choice(victims) if victims else cluster.pid
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            self.killed["cluster" if victim == cluster.pid else "worker"] += 1
        if victim != cluster.pid:
            return cluster
        cluster.wait(10)
        return self.live.start_workers()


def _trial(live: Live, kills: int, seed: int, servers: tuple[str, ...] = ()) -> None:
    tenant, admin = live.tenant("ada", "bob")
    clean = live.ask("erasure", "request", "--tenant", tenant, "--user", "bob", "--requested-by", admin)
    counts = {
        name: each["found"] for name, each in live.ask("erasure", "preview", clean["id"])["systems"].items()
    }
    request = live.request(tenant, admin, "ada")
    storm = Storm(live, random.Random(seed), servers)
    storm.over(request, kills)
    print(f"killed: {dict(sorted(storm.killed.items()))}")
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
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
def test_many_kills_lose_nothing(live: Live, seed: int) -> None:
    _trial(live, kills=8, seed=seed, servers=SERVERS)
