"""The real workers, killed: nothing stalls, nothing is done twice, no orphan works on."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connection

from compliance.models import AuditEvent
from compliance.models.base import new_id
from demo.stack import control
from demo.stack.place import CHECKOUT
from lifecycle.engine import runs
from lifecycle.engine.workflow import StepSpec, Workflow, register
from lifecycle.models import Heartbeat, Run, Step
from tests.lifecycle.engine.toy import ENGINEER, state
from tests.lifecycle.engine.toy_cluster import CHUNKS, PLAN

NAMES = ["q-clock", "q-default-1", "q-default-2", "q-long-1", "q-long-2", "q-sentinel"]


class Cluster:
    """The supervisor under test, and its children by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "tests.lifecycle.engine.toy_cluster",
            str(connection.settings_dict["NAME"]),
            str(self.folder),
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=CHECKOUT, stdout=log, stderr=log, env=os.environ.copy()
            )

    def kill(self) -> None:
        """Kills the guardian alone. What it started must not outlive it."""
        orphans = self.children().values()
        self.process.kill()
        self.process.wait(timeout=10)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), 5, "the orphans are gone")

    def replace(self, name: str) -> None:
        """Kills one process and waits until another is in its place."""
        killed = self.children()[name]
        os.kill(killed, signal.SIGKILL)
        until(lambda: self.complete() and self.children().get(name) != killed, 10, f"{name} is replaced")

    def children(self) -> dict[str, int]:
        """Name -> process id of what descends from the guardian and lives."""
        seen: dict[int, tuple[str, int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, rest = stat.read_text().split(" (", 1)
            except OSError:
                continue  # it ended while we looked
            name, fields = rest.rsplit(") ", 1)
            status, parent = fields.split()[:2]
            if status != "Z" and name.startswith("q-"):
                seen[int(pid)] = (name, int(parent))
        family = {self.process.pid}
        for _ in range(2):
            family |= {pid for pid, (_, parent) in seen.items() if parent in family}
        return {name: pid for pid, (name, _) in seen.items() if pid in family}

    def complete(self) -> bool:
        assert self.process.poll() is None, (
            f"the supervisor ended: {(self.folder / 'log').read_text()[-2000:]}"
        )
        return sorted(self.children()) == NAMES


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Polls. Fails with `what` when it does not become true in time."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def cluster(committed: None, tmp_path: Path) -> Iterator[Cluster]:
    """Running workers; ended afterwards however the test went."""
    register(
        Workflow(
            "traces",
            lambda run: (
                [StepSpec("slow", 1)] if run.tenant_id == "slow" else [StepSpec(*each) for each in PLAN]
            ),
        )
    )
    made = Cluster(tmp_path)
    try:
        until(made.complete, 60, "all workers are there")
        yield made
    finally:
        made.process.kill()
        made.process.wait(timeout=10)


def start(tenant: str = "t1") -> Run:
    return runs.start("traces", new_id("er"), tenant_id=tenant, actor=ENGINEER)


def exactly_once(started: list[Run], cluster: Cluster, *, most_again: int) -> None:
    """Every step of these runs was done once, with every trace; only slices that a kill cut off were called again."""
    for run in started:
        wanted = {(name, lane): 1 for name, _, lane in PLAN}
        ended = AuditEvent.objects.filter(case_id=run.subject, verb="step.done").values_list(
            "data", flat=True
        )
        assert Counter((data["step"], data.get("lane", "")) for data in ended) == wanted
        assert all(step.result == {"chunks": CHUNKS} for step in Step.objects.filter(run=run))
        assert AuditEvent.objects.filter(case_id=run.subject, verb="run.done").count() == 1
        files = {path.name for path in cluster.folder.iterdir() if path.name.startswith(run.pk)}
        assert files == {f"{run.pk} {name} {lane} {at}" for name, _, lane in PLAN for at in range(CHUNKS)}
    calls = Counter((cluster.folder / "calls").read_text().splitlines())
    assert sum(calls.values()) - len(calls) <= most_again


def test_killed_at_any_place_every_step_is_done_exactly_once(cluster: Cluster) -> None:
    victims = random.Random(7)
    started = [start() for _ in range(3)]
    for victim in ("q-default-1", "q-long-2", "q-clock", "q-sentinel", "all", "q-default-2", "q-long-1"):
        time.sleep(victims.uniform(0.2, 0.5))  # the moment of the kill: any will do
        if victim == "all":
            cluster.kill()
            cluster.start()
            until(cluster.complete, 60, "all workers are there again")
        else:
            cluster.replace(victim)

    until(lambda: {state(run) for run in started} == {"done"}, 60, "all runs are done")

    exactly_once(started, cluster, most_again=15)


def test_asked_to_end_it_ends_the_slice_early_and_loses_nothing(cluster: Cluster) -> None:
    until(lambda: Heartbeat.objects.count() == 2, 30, "the canary came through every queue")
    run = start("slow")
    until(lambda: (cluster.folder / f"{run.pk} slow  0").exists(), 10, "the slice is under way")

    cluster.process.terminate()

    assert cluster.process.wait(timeout=10) == 0
    step = Step.objects.get(run=run)
    assert (step.state, step.cursor, step.lease_token) == ("running", 1, None)


@pytest.mark.chaos
def test_thirty_kills_stopped_workers_and_restarts_of_the_database(cluster: Cluster, stack_dir: Path) -> None:
    chance = random.Random(os.environ.get("CHAOS_SEED", "11"))
    started = [start() for _ in range(6)]
    stopped: list[int] = []
    for turn in range(36):
        time.sleep(chance.uniform(0.1, 2.0))
        victim = chance.choice([*NAMES, "all", "stop", "database"] if turn % 6 == 5 else NAMES)
        if victim == "all":
            cluster.kill()
            cluster.start()
            until(cluster.complete, 60, "all workers are there again")
        elif victim == "stop":
            stopped.append(cluster.children()["q-long-1"])
            os.kill(stopped[-1], signal.SIGSTOP)
        elif victim == "database":
            connection.close()
            control.restart(stack_dir, "postgres-control")
        else:
            cluster.replace(victim)
        if stopped and turn % 6 == 3:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stopped.pop(), signal.SIGCONT)
        if chance.random() < 0.3:
            started.append(start())

    until(lambda: {state(run) for run in started} == {"done"}, 120, "all runs are done")

    exactly_once(started, cluster, most_again=150)
