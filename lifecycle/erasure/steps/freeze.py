"""Freeze the subject: sessions, keys, ingestion and queues refuse it from now on."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from compliance.actions import executing
from compliance.actors import SYSTEM
from compliance.judgement import judge
from compliance.models import ErasureRequest
from lifecycle import places
from lifecycle.engine.outcomes import Done, Outcome, Wait
from lifecycle.engine.workflow import Context
from lifecycle.erasure import cases, trail
from lifecycle.models import Run
from lifecycle.systems.base import Subject
from lifecycle.systems.postgresql import freeze

THAW = "erasure.thaw"


def run(context: Context) -> Outcome:
    """Freezes in every environment of the tenant; every line of the certificate says "as of" this time."""
    request = ErasureRequest.objects.get(pk=context.run.subject)
    case = cases.open_case(request)
    if delayed := _delayed_until(request):
        return Wait(delayed, f"A contract delays this erasure until {delayed:%Y-%m-%d}.")
    if request.state in (ErasureRequest.State.SCHEDULED, ErasureRequest.State.REOPENED):
        executing.move(request, ErasureRequest.State.EXECUTING, actor=SYSTEM)
    file = cases.read(context.run)
    context.undo(THAW, request=request.pk)
    for environment in places.environments(request.tenant_id):
        if "postgresql" in environment.places:
            freeze.freeze(
                places.place(environment, "postgresql"), file.datamap, _as_stored(file.scope.subject)
            )
    if case.frozen_at is None:
        case.frozen_at = timezone.now()
        case.save(update_fields=["frozen_at"])
        trail.note(request, "erasure.frozen")
    return Done()


def _delayed_until(request: ErasureRequest) -> datetime | None:
    """The end of a contract's exit period that still runs; an Art. 17 request has none."""
    until = judge(request, categories=(), at=timezone.now()).delayed_until
    return until if until is not None and until > timezone.now() else None


def thaw(run_: Run, arguments: dict[str, str]) -> None:
    """Undo: a cancelled case lets the subject go again."""
    file = cases.of_request(ErasureRequest.objects.get(pk=arguments["request"]))
    for environment in places.environments(file.request.tenant_id):
        if "postgresql" in environment.places:
            freeze.thaw(places.place(environment, "postgresql"), file.datamap, _as_stored(file.scope.subject))


def _as_stored(subject: Subject) -> Subject:
    return Subject(subject.tenant, subject.user)
