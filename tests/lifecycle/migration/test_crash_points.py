"""Crash-point exhaustion: the worker is killed at every boundary of a move's journal, one by one, and the move goes on.

A boundary is where something was done outside and is not yet written down (the end of each slice), and where an undo row
has just been committed and nothing was made yet. The worker is a fork that ends as `kill -9` would.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from django.db import connections

from compliance import fence
from lifecycle.engine import leases, settling, sweeper
from lifecycle.engine.advance import advance
from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Wait
from lifecycle.migration import actions, status
from lifecycle.models import Migration, Run, Step
from tests.lifecycle.migration.stage import ANN, BEN, Stage, due

S = Migration.State
KILLED = 9
pytestmark = pytest.mark.chaos


class Killer:
    """Works on steps in forks; each boundary kills once. `at` names those that did, in their order."""

    def __init__(self, only: str = "") -> None:
        self.only, self.at = only, list[str]()

    def work(self, step: Step) -> bool:
        """One slice of a step in a fork. True where it was killed; what it held is free again then."""
        fence.disconnect()
        connections.close_all()
        told, tag = os.pipe(), leases.new_tag()
        child = os.fork()
        if child == 0:
            self._child(step, tag, told[1])
        os.close(told[1])
        with os.fdopen(told[0]) as reader:
            boundary = reader.read()
        _, code = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(code) != KILLED:
            return False
        self.at.append(boundary)
        sweeper.release(tag)
        return True

    def _child(self, step: Step, tag: bytes, tell: int) -> None:
        written, kept = settling.settle, Context.undo

        def die(boundary: str) -> None:
            if boundary not in self.at and boundary.startswith(self.only):
                os.write(tell, boundary.encode())
                os._exit(KILLED)

        def settle(context: Context, ending: Any) -> None:
            if not isinstance(ending, Wait):
                die(f"{step.name} {step.lane} {type(ending).__name__}")
            written(context, ending)

        def undo(context: Context, action: str, **arguments: Any) -> Any:
            row = kept(context, action, **arguments)
            die(f"{step.name} {step.lane} {action}")
            return row

        try:
            leases.wear(tag)
            settling.settle, Context.undo = settle, undo  # type: ignore[method-assign,assignment]
            advance(step.pk)
        finally:
            os._exit(0)


def go(stage: Stage, migration: Migration, killer: Killer, until: Any, seconds: float = 400) -> None:
    """Works on the run in forks until it holds."""
    ends = time.monotonic() + seconds
    while True:
        migration.refresh_from_db()
        if until(migration):
            return
        run = Run.objects.get(pk=migration.run_id)
        assert time.monotonic() < ends, f"{migration.state}, run {run.state}: {run.reason} {stage.words(run)}"
        for step in due(run):
            killer.work(step)
        time.sleep(0.05)


@pytest.mark.timeout(600)
def test_killed_at_every_boundary_a_move_ends_completed(stage: Stage) -> None:
    customer = stage.tenant()
    migration = stage.started(customer)
    killer = Killer()
    go(stage, migration, killer, lambda each: "second person" in status.of(each)["why"])
    actions.complete(migration, actor=BEN)
    go(stage, migration, killer, lambda each: each.state == S.COMPLETED)
    specs = Step.objects.filter(run=migration.run_id)
    killed_at = {each.rpartition(" ")[0] for each in killer.at}
    assert {f"{step.name} {step.lane}" for step in specs} <= killed_at, "every step was killed at its end"
    assert stage.left_behind(migration) == []
    assert stage.of_tenant("us-east-1", customer.id) == {"documents": 0, "namespaces": 0}
    assert stage.of_tenant("us-west-2", customer.id)["documents"] >= 3


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "boundary",
    [
        "provision  migration.provisioned", "provision  Done", "prepare  migration.routes", "prepare  migration.green_data",
        "prepare  migration.streams", "prepare  migration.traffic", "prepare  Done", "copy postgresql Done", "copy s3 Done",
        "sync postgresql Done", "way_back  Done",
    ],
)  # fmt: skip
def test_killed_and_then_cancelled_nothing_is_left(stage: Stage, boundary: str) -> None:
    customer = stage.tenant()
    migration = stage.started(customer)
    killer = Killer(only=boundary)
    go(stage, migration, killer, lambda _each: killer.at)
    actions.cancel(migration, actor=ANN)
    undoing = Killer(only="undo")
    go(stage, migration, undoing, lambda each: Run.objects.get(pk=each.run_id).state == Run.State.CANCELLED)
    assert (migration.state, undoing.at) == (S.ROLLED_BACK, ["undo  Done"])
    assert stage.left_behind(migration) == []
    assert stage.of_tenant("us-west-2", customer.id) == {"documents": 0, "namespaces": 0}
