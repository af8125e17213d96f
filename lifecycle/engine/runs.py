"""What people and other code do with runs. Each verb has a `check_` beside it: reasons why not, [] when allowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from compliance.access import lacks
from compliance.actors import COMPLIANCE, ENGINEER, LEGAL, SYSTEM_ROLE, Actor
from compliance.errors import Refused
from lifecycle.engine import readiness
from lifecycle.engine.advance import advance
from lifecycle.engine.turns import LIVE, OPEN, Turn, turn
from lifecycle.engine.workflow import Workflow, named
from lifecycle.models import Run, Step

S = Step.State
R = Run.State
MAY_STEER = (ENGINEER, COMPLIANCE, LEGAL, SYSTEM_ROLE)
_FRESH = {
    "state": S.WAITING,
    "attempts": 0,
    "failures": 0,
    "error": "",
    "finished_at": None,
    "enqueued_at": None,
}


def start(workflow: str | Workflow, subject: str, *, tenant_id: str, actor: Actor) -> Run:
    """Starts a run of the workflow for the subject, or gives the live one: one live run per subject.

    Raises Refused while a cancelled run of the same subject is still being undone, Permanent for an unknown name.
    """
    known = workflow if isinstance(workflow, Workflow) else named(workflow)
    with transaction.atomic():
        if found := _live(known.name, subject):
            return found
        if Run.objects.filter(
            workflow=known.name, subject=subject, state=R.FAILED, cancel_requested=True
        ).exists():
            raise Refused("An earlier run of this subject is still being undone. Wait until it is cancelled.")
        try:
            with transaction.atomic():
                run = Run.objects.create(workflow=known.name, subject=subject, tenant_id=tenant_id)
        except IntegrityError:
            return Run.objects.get(workflow=known.name, subject=subject, state__in=LIVE)
        Step.objects.bulk_create(
            Step(run=run, name=spec.name, lane=spec.lane, stage=spec.stage) for spec in known.steps(run)
        )
        with turn(run.pk, actor) as now:
            now.note("run.started", workflow=known.name)
            now.go_on()
    return run


def check_pause(run: Run, actor: Actor) -> list[str]:
    """Why the run can't be paused."""
    reasons = _may_steer(actor)
    if run.state not in LIVE:
        reasons.append(f"The run is {run.state}: there is nothing to pause.")
    if run.cancel_requested:
        reasons.append("The run is being cancelled.")
    return reasons


def pause(run: Run, *, actor: Actor) -> Run:
    """No slice starts from now on; the run is `paused` once no worker holds a step. Raises Refused."""
    with _steer(run, actor, check_pause) as now:
        if not now.run.pause_requested:
            now.run.pause_requested = True
            now.note("run.pause_requested")
        now.go_on()
    return run


def check_resume(run: Run, actor: Actor) -> list[str]:
    """Why the run can't be resumed."""
    reasons = _may_steer(actor)
    if run.cancel_requested:
        reasons.append("The run is being cancelled.")
    elif run.state not in LIVE:
        reasons.append(f"The run is {run.state}: only a paused or blocked one can be resumed.")
    return reasons


def resume(run: Run, *, actor: Actor) -> Run:
    """Takes up a paused or blocked run. What blocked it is asked again in the next claim. Raises Refused.

    The program itself takes up only what is blocked: a person's pause stays (see `wake`).
    """
    if actor.has(SYSTEM_ROLE):
        return wake(run)
    with _steer(run, actor, check_resume) as now:
        if now.run.pause_requested or now.run.state != R.RUNNING:
            now.run.pause_requested = False
            now.note("run.resumed")
            now.become(R.RUNNING)
        _wake_steps(now)
    return run


def wake(run: Run) -> Run:
    """What the run waits or is blocked for may have happened: its waiting and blocked steps look now.

    A run that a person paused, or that has ended, is left alone.
    """
    with turn(run.pk) as now:
        if now.run.state in (R.RUNNING, R.BLOCKED) and not now.run.cancel_requested:
            now.become(R.RUNNING)  # and paused at once where a person asked for that
            _wake_steps(now)
    run.refresh_from_db()
    return run


def check_cancel(run: Run, actor: Actor) -> list[str]:
    """Why the run can't be cancelled."""
    reasons = _may_steer(actor)
    if run.state in (R.DONE, R.CANCELLED):
        reasons.append(f"The run is {run.state}: there is nothing to cancel.")
    return reasons


def cancel(run: Run, *, actor: Actor, reason: str = "") -> Run:
    """No slice starts from now on; once no worker holds a step, what was made is undone, then it is `cancelled`.

    `reason` is one of ours, without personal data. Raises Refused.
    """
    with _steer(run, actor, check_cancel) as now:
        if not now.run.cancel_requested:
            now.run.cancel_requested = True
            now.run.reason = reason[:500]
            now.note("run.cancel_requested", reason=reason)
        now.go_on()
    return run


def check_retry(run: Run, actor: Actor, lane: str | None = None) -> list[str]:
    """Why no failed step of the run can be tried again."""
    reasons = _may_steer(actor)
    if not _failed(run, lane):
        reasons.append("No step of the run has failed." if lane is None else f"No step of {lane} has failed.")
    elif run.state in (R.DONE, R.CANCELLED):
        reasons.append(f"The run is {run.state}.")
    elif run.state not in LIVE and _live(run.workflow, run.subject):
        reasons.append("Another run of the same subject is under way.")
    return reasons


def retry(run: Run, *, actor: Actor, lane: str | None = None) -> Run:
    """Tries the failed steps again, of one lane or of all; what they did already is kept. Raises Refused."""
    with _steer(run, actor, lambda each, by: check_retry(each, by, lane)) as now:
        for step in _failed(now.run, lane):
            Step.objects.filter(pk=step.pk).update(**_FRESH, not_before=Now())
            now.note("step.retried", step)
        if now.run.state == R.FAILED and not now.run.cancel_requested:
            now.become(R.RUNNING)
        now.go_on()
    return run


def rerun(run: Run, *, name: str, lane: str = "") -> None:
    """A finished step is done again from its start; steps of later stages wait for it. For steps to call on others."""
    with turn(run.pk) as now:
        for step in Step.objects.filter(run=now.run, name=name, lane=lane, state__in=[S.DONE, S.FAILED]):
            Step.objects.filter(pk=step.pk).update(
                **_FRESH, not_before=Now(), cursor=None, result=None, done=0
            )
            now.note("step.rerun", step)
        now.go_on()


def execute(run: Run, *, timeout: float | None = None) -> Run:
    """Works the run to its end in this process, as a job of its own would; other workers may help.

    Returns it done, failed, cancelled, paused or blocked. Raises TimeoutError after `timeout` seconds.
    """
    ends = None if timeout is None else time.monotonic() + timeout
    while True:
        run.refresh_from_db()
        if run.state in (R.DONE, R.CANCELLED) or (run.state != R.RUNNING and not run.cancel_requested):
            return run
        if run.state == R.FAILED and not run.steps.filter(state__in=OPEN, name="undo").exists():
            return run
        worked = [advance(step.pk) for step in _due(run)]
        if not any(word not in ("not claimed", "lease lost") for word in worked):
            if ends is not None and time.monotonic() > ends:
                raise TimeoutError(
                    f"Run {run.pk} is {run.state} after {timeout:.0f} s: {run.reason or 'still at work'}."
                )
            time.sleep(0.2)


def _due(run: Run) -> list[Step]:
    steps = [step for step in run.steps.order_by("stage", "id") if step.not_before <= timezone.now()]
    if run.cancel_requested:
        return [step for step in steps if step.state in OPEN and step.name == "undo"]
    ready = {step.pk for step in readiness.standing(run.steps.all()).ready}
    return [step for step in steps if step.pk in ready]


@contextmanager
def _steer(run: Run, actor: Actor, check: Callable[[Run, Actor], list[str]]) -> Iterator[Turn]:
    """A turn that is refused when the check, asked under the lock, has reasons. The caller's `run` follows."""
    with turn(run.pk, actor) as now:
        if reasons := check(now.run, actor):
            raise Refused(*reasons)
        yield now
    run.refresh_from_db()


def _live(workflow: str, subject: str) -> Run | None:
    return Run.objects.filter(workflow=workflow, subject=subject, state__in=LIVE).first()


def _failed(run: Run, lane: str | None) -> list[Step]:
    found = Step.objects.filter(run=run, state=S.FAILED)
    return list(found if lane is None else found.filter(lane=lane))


def _wake_steps(now: Turn) -> None:
    steps = Step.objects.filter(run=now.run, lease_token=None)
    steps.filter(state=S.BLOCKED).update(**_FRESH, not_before=Now())
    waiting = steps.filter(state__in=[S.WAITING, S.RUNNING])
    waiting.filter(failures=0).update(not_before=Now())  # a backoff after failures is not cut short
    waiting.update(enqueued_at=None)
    now.go_on()


def _may_steer(actor: Actor) -> list[str]:
    return lacks(actor, *MAY_STEER)
