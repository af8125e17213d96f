"""Verbs of the executing side: start what was approved, retry, cancel, watch, reopen, close."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from compliance import audit, statements
from compliance.actions import deciding, executing
from compliance.actors import SYSTEM, Actor
from compliance.errors import Refused
from compliance.models import ErasureRequest
from lifecycle.engine import runs
from lifecycle.erasure import cases
from lifecycle.models import ErasureCase, Run, SystemLine

STATES = ErasureRequest.State


def start(request: ErasureRequest, *, actor: Actor = SYSTEM) -> Run:
    """Starts the run of an approved (or reopened) request; the one that is live already is returned."""
    if request.state not in (STATES.SCHEDULED, STATES.REOPENED):
        raise Refused(
            f"Request {request.pk} is {statements.shown_state(request)}: only an approved one is executed."
        )
    with transaction.atomic():
        case = cases.open_case(request)
        run = runs.start(cases.WORKFLOW, request.pk, tenant_id=request.tenant_id, actor=actor)
        ErasureCase.objects.filter(pk=case.pk).update(run=run)
    return runs.wake(run) if run.state == Run.State.BLOCKED else run


def live_run(request: ErasureRequest) -> Run | None:
    """The newest run of a request."""
    return Run.objects.filter(workflow=cases.WORKFLOW, subject=request.pk).order_by("-created_at").first()


def check_retry(request: ErasureRequest) -> list[str]:
    """Why a retry would do nothing; [] when it may."""
    run = live_run(request)
    if run is None:
        return [f"Request {request.pk} was never started, so there is nothing to retry."]
    if run.state not in (Run.State.FAILED, Run.State.BLOCKED):
        return [f"The run of request {request.pk} is {run.get_state_display()}, not failed."]
    return []


def retry(request: ErasureRequest, *, actor: Actor, system: str | None = None) -> Run:
    """Goes on with what failed, all of it or one system's. Raises Refused with sentences."""
    if reasons := check_retry(request):
        raise Refused(*reasons)
    run = live_run(request)
    if run is None:
        raise Refused(f"Request {request.pk} was never started.")
    with transaction.atomic():
        SystemLine.objects.filter(case_id=request.pk, state=SystemLine.State.FAILED).update(rounds=0)
        runs.retry(run, actor=actor, lane=system)
        audit.record(
            "erasure.retried",
            actor=actor,
            tenant_id=request.tenant_id,
            case_id=request.pk,
            data={"system": system or "all"},
        )
    return run


def cancel(request: ErasureRequest, *, actor: Actor, reason: str = "") -> ErasureRequest:
    """Cancels; a run that began undoes what it planted and thaws the subject."""
    run = live_run(request)
    done = deciding.cancel(request, actor=actor, reason=reason)
    if run is not None and run.state not in (Run.State.DONE, Run.State.CANCELLED):
        runs.cancel(run, actor=actor)
    return done


def resume(request: ErasureRequest) -> None:
    """The last hold was lifted or expired: the request goes on by itself."""
    executing.resume(request, actor=SYSTEM)
    request.refresh_from_db()
    run = live_run(request)
    if run is not None and run.state == Run.State.BLOCKED:
        runs.resume(run, actor=SYSTEM)
    elif request.state == STATES.SCHEDULED:
        start(request)


def reopen(request: ErasureRequest, *, actor: Actor, reason: str) -> Run:
    """A part came due, or data came back: erase, verify and issue an addendum."""
    with transaction.atomic():
        executing.reopen(request, actor=actor, reason=reason)
        case = ErasureCase.objects.select_for_update().get(request=request)
        case.round += 1
        case.save(update_fields=["round"])
        case.lines.update(rounds=0, residue=None, verified_at=None)
        request.refresh_from_db()
        run = runs.start(cases.WORKFLOW, request.pk, tenant_id=request.tenant_id, actor=actor)
        ErasureCase.objects.filter(pk=case.pk).update(run=run)
    return run


def close(request: ErasureRequest, *, actor: Actor = SYSTEM) -> None:
    """The watch is over: the case key is destroyed and every sealed column emptied."""
    executing.close(request, actor=actor)


def wake(request: ErasureRequest) -> None:
    """A person settled something that the run may wait for: it looks now."""
    run = live_run(request)
    if run is not None and run.state in (Run.State.RUNNING, Run.State.BLOCKED):
        runs.wake(run)


def watch_due(now_after: timedelta = timedelta(0)) -> list[ErasureRequest]:
    """Finished requests whose watch still runs."""
    return list(
        ErasureRequest.objects.filter(
            state__in=[STATES.COMPLETED, STATES.PARTIALLY_COMPLETED],
            closed_at=None,
            watch_until__gte=timezone.now() - now_after,
        )
    )
