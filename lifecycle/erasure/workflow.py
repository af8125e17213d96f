"""The ordered steps of an erasure. Each system has a lane: one that fails does not stop its neighbours."""

from __future__ import annotations

from compliance.actions import executing
from compliance.actors import SYSTEM
from compliance.models import ErasureRequest
from lifecycle.engine.workflow import StepSpec, Workflow, register, register_undo
from lifecycle.erasure import cases, gates
from lifecycle.erasure.steps import certify, discover, erase, freeze, plant, settle, verify, weigh
from lifecycle.models import Run
from lifecycle.systems.base import SYSTEMS


def steps(_run: Run) -> list[StepSpec]:
    """Freeze; PostgreSQL tells what the rows lead to; all discover; plant; erase; verify; settle; certify."""
    return [
        StepSpec("freeze", 1, run=freeze.run),
        StepSpec("discover", 2, lane="postgresql", run=discover.run, queue="long"),
        *[
            StepSpec("discover", 3, lane=name, run=discover.run, queue="long")
            for name in SYSTEMS
            if name != "postgresql"
        ],
        # In a lane of its own: a system that is down must not keep the others from being erased.
        StepSpec("weigh", 4, lane="weigh", run=weigh.run),
        *[StepSpec("plant", 5, lane=name, run=plant.run) for name in SYSTEMS],
        *[StepSpec("erase", 6, lane=name, run=erase.run, queue="long") for name in SYSTEMS],
        *[StepSpec("verify", 7, lane=name, run=verify.run, queue="long") for name in SYSTEMS],
        StepSpec("settle", 8, run=settle.run),
        StepSpec("certify", 9, run=certify.run),
    ]


def on_state(run: Run) -> None:
    """The request follows its run: failed with the name of what failed, blocked, cancelled."""
    request = ErasureRequest.objects.get(pk=run.subject)
    working = {"executing", "verifying", "certifying"}
    if run.state == Run.State.FAILED and request.state in working:
        executing.move(request, ErasureRequest.State.FAILED, actor=SYSTEM, reason=run.reason)
    elif run.state == Run.State.RUNNING and request.state == ErasureRequest.State.FAILED:
        executing.move(request, ErasureRequest.State.EXECUTING, actor=SYSTEM, reason="retried")
    elif run.state == Run.State.BLOCKED and request.state in working:
        gates.block_if_held(request)


WORKFLOW = register(Workflow(cases.WORKFLOW, steps=steps, gate=gates.gate, on_state=on_state))
register_undo(plant.LIFT, plant.lift)
register_undo(freeze.THAW, freeze.thaw)
