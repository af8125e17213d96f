"""Workflows and undo actions as the engine knows them: names and functions, registered at import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lifecycle.engine import providers, undoing
from lifecycle.engine.context import Context as Context
from lifecycle.engine.outcomes import Outcome
from lifecycle.engine.undoing import UNDO as UNDO
from lifecycle.engine.undoing import register_undo as register_undo
from lifecycle.models import Run, Step
from lifecycle.systems.base import Permanent

QUEUES = ("default", "long")


def _no_function(_context: Context) -> Outcome:
    raise Permanent("The step has no function.")


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One step. `run` does one slice; it must be idempotent, since a killed slice is done again.

    Steps of one `stage` run side by side. A failed step stops only its `lane`; a step with no lane needs all.
    `queue` "long" keeps slices of many seconds away from short work.
    """

    name: str
    stage: int
    lane: str = ""
    run: Callable[[Context], Outcome] = _no_function
    queue: str = "default"


@dataclass(frozen=True, slots=True)
class Workflow:
    """`steps` is computed from the run (its subject) at start and again at each slice: keep it cheap and stable.

    `gate` gives a sentence when the run may not go on now; it is asked in every claim. `on_state` is called after
    the run's state changed, in the transaction of the change (not for the start, which the caller knows of);
    it may lock rows of its own and write audit events, since the engine does both before and nothing locked after.
    """

    name: str
    steps: Callable[[Run], Sequence[StepSpec]]
    gate: Callable[[Run], str | None] = lambda _run: None
    on_state: Callable[[Run], None] = lambda _run: None


_UNDO = StepSpec(UNDO, stage=0, run=undoing.run)
_workflows: dict[str, Workflow] = {}


def register(workflow: Workflow) -> Workflow:
    """Makes a workflow known under its name; the last registration counts."""
    _workflows[workflow.name] = workflow
    return workflow


def named(name: str) -> Workflow:
    """The workflow of this name. Raises Permanent when this version of the program knows none."""
    return providers.find(_workflows, name, "workflow")


def spec_of(step: Step) -> StepSpec:
    """What to call for a step. Raises Permanent when its workflow no longer has it."""
    if step.name == UNDO:
        return _UNDO
    specs = named(step.run.workflow).steps(step.run)
    for spec in specs:
        if (spec.name, spec.lane) == (step.name, step.lane):
            return spec
    raise Permanent(
        f"This version of workflow {step.run.workflow!r} has no step {step.name!r} in lane {step.lane!r}."
    )


def queue_of(step: Step) -> str:
    """The queue of a step's messages; `default` for a step that this version doesn't know."""
    try:
        return spec_of(step).queue
    except Permanent:
        return QUEUES[0]
