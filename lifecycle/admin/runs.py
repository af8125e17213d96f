"""Runs and their steps: engineers pause, resume, retry and cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from compliance import statements
from compliance.actors import Actor
from compliance.admin.desk import Desk, actor_of
from compliance.models import ErasureRequest, LegalHold
from compliance.templatetags.desks import badge, when
from lifecycle.admin.errors import EXPECTED
from lifecycle.engine import progress, runs
from lifecycle.models import Heartbeat, Run


@admin.register(Run)
class RunDesk(Desk):
    """Durable workflows."""

    list_display = ("id", "shown_state", "workflow", "about", "reason", "begun", "ended")
    list_filter = ("state", "workflow")
    search_fields = ("id", "=subject")
    page_template = "lifecycle/run.html"
    expected = EXPECTED

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """Without what works on a hold that the viewer may know nothing of."""
        found: QuerySet[Run] = super().get_queryset(request)
        return found.exclude(subject__in=statements.veil(actor_of(request)).holds)

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        viewer = actor_of(request)
        return {
            "buttons": [
                ("pause", "Pause", "No slice starts from now on.", runs.check_pause(row, viewer)),
                ("resume", "Resume", "Takes up a paused or blocked run.", runs.check_resume(row, viewer)),
                (
                    "retry",
                    "Retry failed steps",
                    "What was done already is kept.",
                    runs.check_retry(row, viewer),
                ),
                (
                    "cancel",
                    "Cancel",
                    "What the run made in the outside world is undone.",
                    runs.check_cancel(row, viewer),
                ),
            ],
            "steps": [progress.describe_step(step) for step in row.steps.order_by("stage", "id")],
            "undos": row.undos.count(),
            "subject_url": subject_url(row, viewer),
            "subject": row.subject if subject_url(row, viewer) else "",
            "polls": row.state in (Run.State.RUNNING, Run.State.BLOCKED),
        }

    def verbs(self) -> dict[str, Callable[[HttpRequest, Any], str | HttpResponseBase | None]]:
        return {"pause": self.pause, "resume": self.resume, "retry": self.retry, "cancel": self.cancel}

    def pause(self, request: HttpRequest, row: Run) -> str:
        """After the slices that are at work."""
        runs.pause(row, actor=actor_of(request))
        return "Paused." if row.state == Run.State.PAUSED else "It pauses once no worker holds a step."

    def resume(self, request: HttpRequest, row: Run) -> str:
        """Asks again what blocked it."""
        runs.resume(row, actor=actor_of(request))
        return "Resumed."

    def retry(self, request: HttpRequest, row: Run) -> str:
        """All failed steps, or those of one lane."""
        runs.retry(row, actor=actor_of(request), lane=request.POST.get("lane") or None)
        return "The failed steps are tried again."

    def cancel(self, request: HttpRequest, row: Run) -> str:
        """Undoes what was made."""
        runs.cancel(row, actor=actor_of(request))
        return "It is being cancelled: what it made is undone first."

    @admin.display(description="state", ordering="state")
    def shown_state(self, row: Run) -> SafeString:
        return badge(row.state, row.get_state_display())

    @admin.display(description="of", ordering="subject")
    def about(self, row: Run) -> SafeString | str:
        if not row.subject.startswith("er-"):
            return "a legal hold" if row.subject.startswith("lh-") else "–"
        url = reverse("admin:compliance_erasurerequest_change", args=[row.subject])
        return format_html('<a href="{}">{}</a>', url, row.subject)

    @admin.display(description="begun", ordering="created_at")
    def begun(self, row: Run) -> str:
        return when(row.created_at)

    @admin.display(description="ended", ordering="finished_at")
    def ended(self, row: Run) -> str:
        return when(row.finished_at)


def subject_url(run: Run, viewer: Actor) -> str:
    """The page of what a run works on; empty where there is none."""
    if ErasureRequest.objects.filter(pk=run.subject).exists():
        return reverse("admin:compliance_erasurerequest_change", args=[run.subject])
    hold = LegalHold.objects.filter(pk=run.subject).first()
    shown = hold is not None and (not hold.hidden or viewer.has("legal"))
    return reverse("admin:compliance_legalhold_change", args=[run.subject]) if shown else ""


@admin.register(Heartbeat)
class HeartbeatDesk(Desk):
    """When each queue last carried out its canary task."""

    list_display = ("queue", "last")

    @admin.display(description="last sign of life", ordering="at")
    def last(self, row: Heartbeat) -> str:
        return when(row.at)
