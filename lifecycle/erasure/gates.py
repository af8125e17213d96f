"""What is asked inside every claim, not once at the start: holds, the approved digest, cancellation, the map."""

from __future__ import annotations

from django.utils import timezone

from compliance import statements
from compliance.actions import deciding, executing
from compliance.actors import SYSTEM
from compliance.judgement import Judgement, judge
from compliance.models import ErasureRequest
from lifecycle import tenants
from lifecycle.models import Migration, Run

MOVING = "The tenant is being moved between regions"
WORKING = {
    ErasureRequest.State.SCHEDULED,
    ErasureRequest.State.EXECUTING,
    ErasureRequest.State.VERIFYING,
    ErasureRequest.State.CERTIFYING,
    ErasureRequest.State.REOPENED,
}


def gate(run: Run) -> str | None:
    """A sentence that says why the run may not go on now; None when it may.

    It is shown to everybody who watches the run, so it names no hidden hold.
    """
    request = ErasureRequest.objects.select_related("tenant").get(pk=run.subject)
    if request.state == ErasureRequest.State.FAILED:
        return None
    if request.state not in WORKING:
        return f"The request is {statements.shown_state(request)}."
    if reasons := deciding.standing_problems(request):
        return " ".join(reasons)
    if request.plan.get("datamap_digest") not in (None, "", tenants.current_map().digest):
        return "The data map changed after the approval: the request must be previewed and approved again."
    return statements.of_holds(judged(request).holds) or moving(request.tenant_id)


def moving(tenant_id: str) -> str | None:
    """A tenant that moves is not erased meanwhile: what is copied after it was looked for would stay."""
    found = Migration.objects.filter(tenant_id=tenant_id).exclude(started_at=None)
    live = found.exclude(state__in=Migration.ENDED).first() or found.filter(order__closed=False).first()
    if live is None:
        return None
    return f"{MOVING} ({live.pk}); the erasure goes on when that has ended."


def blocking(request: ErasureRequest) -> list[str]:
    """Ids of holds that stop the whole request now."""
    return [hold.pk for hold in judged(request).holds]


def judged(request: ErasureRequest) -> Judgement:
    """The judgement on a request now, for every category of the map in force."""
    return judge(request, categories=tenants.current_map().categories, at=timezone.now())


def block_if_held(request: ErasureRequest) -> None:
    """Moves the request to `blocked_by_hold` when a hold is what stopped its run."""
    if holds := blocking(request):
        executing.block(request, holds, actor=SYSTEM)
