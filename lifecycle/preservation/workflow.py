"""A hold's own durable runs: preserve, take our markers out, say how much; and at its end let everything go."""

from __future__ import annotations

from compliance.actors import SYSTEM
from compliance.models import LegalHold
from lifecycle.engine import runs
from lifecycle.engine.workflow import StepSpec, Workflow, register
from lifecycle.erasure.freeing import PRESERVATION
from lifecycle.models import Run
from lifecycle.preservation import expiry
from lifecycle.preservation import steps as work
from lifecycle.systems import registry

NAME = PRESERVATION
EXPIRING = tuple(f"expiry_{system}" for system in registry.EXPIRING)


def steps(_run: Run) -> list[StepSpec]:
    """Preserving, lifting and suspending side by side, then the record."""
    return [
        StepSpec("preserve", 1, lane="s3", run=work.preserve),
        *(StepSpec("suspend", 1, lane=lane, run=expiry.suspend) for lane in EXPIRING),
        StepSpec("lift_canaries", 1, lane="canaries", run=work.lift_canaries),
        StepSpec("record", 2, run=work.record),
    ]


def steps_of_release(_run: Run) -> list[StepSpec]:
    """Objects and rules side by side."""
    return [
        StepSpec("release", 1, lane="s3", run=work.release),
        *(StepSpec("restore", 1, lane=lane, run=expiry.restore) for lane in EXPIRING),
    ]


WORKFLOW = register(Workflow(NAME, steps=steps))
RELEASE = register(Workflow(work.LETTING_GO, steps=steps_of_release))


def start(hold: LegalHold) -> Run:
    """Starts (or returns) the run of a hold."""
    return runs.start(NAME, hold.pk, tenant_id=hold.tenant_id, actor=SYSTEM)


def let_go(hold: LegalHold) -> Run:
    """Starts (or returns) the run that ends what a released or expired hold keeps at providers."""
    return runs.start(work.LETTING_GO, hold.pk, tenant_id=hold.tenant_id, actor=SYSTEM)
