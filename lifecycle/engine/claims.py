"""Who may work on a step now: one conditional UPDATE decides, its row count tells."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from lifecycle.engine import leases, readiness
from lifecycle.engine.context import Context
from lifecycle.engine.turns import LIVE, OPEN, Turn, turn
from lifecycle.engine.workflow import UNDO, named
from lifecycle.models import Run, Step

MOST_CLAIMS = 10  # claims with no progress between them: the step kills its workers
EARLY = timedelta(seconds=2)  # a message may come this early where clocks of machines differ


def claim(step_id: int) -> Context | None:
    """Takes the step for one slice, or None: it isn't due, isn't its turn, or somebody else has it."""
    run_id = Step.objects.filter(pk=step_id).values_list("run_id", flat=True).first()
    if run_id is None:
        return None
    with turn(run_id) as now:
        step = next((each for each in now.steps() if each.pk == step_id), None)
        if step is None:
            return None
        if not _may_work(now, step):
            _without_message(now, step)
            return None
        if step.attempts >= MOST_CLAIMS:
            _give_up(now, step)
            return None
        token = leases.new_token()
        if not _take(step, token):
            _without_message(now, step)
            return None
        if step.started_at is None:
            now.note("step.started", step)
    taken = Step.objects.select_related("run").get(pk=step_id)
    return Context(taken.run, taken, leases.Lease(step_id, token), _gate if taken.name != UNDO else _open)


def _take(step: Step, token: object) -> bool:
    free = Q(lease_token=None) | leases.dead()
    taken = Step.objects.filter(
        free, pk=step.pk, state__in=["waiting", "running"], not_before__lte=Now() + EARLY
    ).update(
        state=Step.State.RUNNING,
        lease_token=token,
        lease_until=Now() + leases.LEASE,
        heartbeat_at=Now(),
        started_at=Coalesce("started_at", Now()),
        attempts=F("attempts") + 1,
        total_attempts=F("total_attempts") + 1,
    )
    return taken == 1


def _may_work(now: Turn, step: Step) -> bool:
    run = now.run
    if step.name == UNDO:
        # Only what nobody else still works on may be undone.
        return (
            run.cancel_requested
            and run.state in (*LIVE, Run.State.FAILED)
            and not now.held(now.steps(), besides=UNDO)
        )
    if (
        run.state != Run.State.RUNNING
        or run.pause_requested
        or run.cancel_requested
        or step.state not in OPEN
    ):
        return False
    return any(each.pk == step.pk for each in readiness.standing(now.steps()).ready)


def _without_message(now: Turn, step: Step) -> None:
    """A message that came too early or out of turn is used up: the step gets another when its turn comes."""
    if step.state in OPEN and Step.objects.filter(pk=step.pk, lease_token=None).update(enqueued_at=None):
        now.go_on()


def _give_up(now: Turn, step: Step) -> None:
    """The only working guard against a step that kills its worker: its messages would come back for ever."""
    error = f"The worker died {MOST_CLAIMS} times in this step before it made any progress. Look at its memory and its log."
    changed = Step.objects.filter(Q(lease_token=None) | leases.dead(), pk=step.pk).update(
        state=Step.State.FAILED, error=error, lease_token=None, lease_until=None, finished_at=Now()
    )
    if changed:
        now.note("step.failed", step, error=error)
        now.insist = True  # what ten claims could not settle must not stall on the workflow's own hook
        now.go_on()


def _gate(run: Run) -> str | None:
    return named(run.workflow).gate(run)


def _open(_run: Run) -> None:
    """The gate of undoing: nothing forbids it."""
