"""The first page: what waits, what is held, what failed, what was proven lately. Each line leads on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from compliance import statements
from compliance.actions import deciding, states
from compliance.admin.desk import actor_of
from compliance.models import Certificate, ErasureRequest, LegalHold
from lifecycle.models import Heartbeat, Run

SHOWN = 8
_REQUESTS = "admin:compliance_erasurerequest_changelist"


def callback(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's DASHBOARD_CALLBACK."""
    if not request.user.has_perm("compliance.view_erasurerequest"):
        return context
    viewer, now = actor_of(request), timezone.now()
    opened = ErasureRequest.objects.filter(state__in=states.OPEN)
    waiting = list(
        opened.filter(state=ErasureRequest.State.AWAITING_APPROVAL)
        .select_related("tenant")
        .order_by("deadline")
    )
    holds = [each for each in statements.visible_holds(viewer) if each.state in LegalHold.BLOCKING]
    troubled = Run.objects.filter(state__in=[Run.State.FAILED, Run.State.BLOCKED])
    mine = [
        each
        for each in waiting
        if not deciding.check_approve(each, actor=viewer, digest=each.digest, password_checked=True)
    ]
    return {
        **context,
        "title": "Desk",
        "viewer": viewer,
        "stats": _stats(opened, len(waiting), len(holds), troubled.count(), now),
        "mine": {each.pk for each in mine},
        "waiting": waiting[:SHOWN],
        "waiting_total": len(waiting),
        "going": opened.exclude(state=ErasureRequest.State.AWAITING_APPROVAL)
        .select_related("tenant")
        .order_by("deadline")[:SHOWN],
        "holds": holds[:SHOWN],
        "troubled": troubled.order_by("-created_at")[:SHOWN],
        "certificates": Certificate.objects.select_related("request")
        .defer("document", "pdf", "seal", "signatures")
        .order_by("-number")[:SHOWN],
        "silent": _silent(now),
    }


def _stats(
    opened: Any, waiting: int, holds: int, troubled: int, now: Any
) -> list[tuple[str, int, str, bool]]:
    soon = opened.filter(deadline__lt=now + timedelta(days=3)).count()
    requests, runs = reverse(_REQUESTS), reverse("admin:lifecycle_run_changelist")
    return [
        ("wait for approval", waiting, f"{requests}?waiting=approval", False),
        ("have less than 3 days", soon, f"{requests}?waiting=soon", soon > 0),
        ("holds in force", holds, reverse("admin:compliance_legalhold_changelist"), False),
        ("runs failed or blocked", troubled, f"{runs}?state__in=failed,blocked", troubled > 0),
    ]


def _silent(now: Any) -> bool:
    """True where no worker has shown a sign of life for five minutes."""
    return not Heartbeat.objects.filter(at__gte=now - timedelta(minutes=5)).exists()
