"""A hold's own durable run: preserve, take our markers out, say how much."""

from __future__ import annotations

from compliance.actors import SYSTEM
from compliance.models import LegalHold
from lifecycle.engine import runs
from lifecycle.engine.workflow import StepSpec, Workflow, register
from lifecycle.models import Run
from lifecycle.preservation import steps as work

NAME = "preservation"


def steps(_run: Run) -> list[StepSpec]:
    """Preserving and lifting side by side, then the record."""
    return [
        StepSpec("preserve", 1, lane="s3", run=work.preserve),
        StepSpec("lift_canaries", 1, lane="canaries", run=work.lift_canaries),
        StepSpec("record", 2, run=work.record),
    ]


WORKFLOW = register(Workflow(NAME, steps=steps))


def start(hold: LegalHold) -> Run:
    """Starts (or returns) the run of a hold."""
    return runs.start(NAME, hold.pk, tenant_id=hold.tenant_id, actor=SYSTEM)
