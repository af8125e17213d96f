"""The desk of erasure requests: list, filing, the page of one request with its live table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString

from compliance import statements
from compliance.actions import filing, mentions, reading, states
from compliance.admin.desk import Desk, actor_of, attempt, sentences
from compliance.models import ErasureRequest
from compliance.templatetags.desks import badge, clock, day
from lifecycle.admin import request_page, verbs
from lifecycle.admin.errors import EXPECTED
from lifecycle.admin.forms import FilingForm
from lifecycle.erasure import intake


class Waiting(admin.SimpleListFilter):
    """What needs somebody."""

    title = "what it waits for"
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("open", "Open"),
            ("approval", "An approval"),
            ("soon", "Less than 3 days left"),
            ("late", "Late"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ErasureRequest]) -> QuerySet[ErasureRequest]:
        now, still = timezone.now(), queryset.filter(state__in=states.OPEN)
        found = {
            "open": still,
            "approval": queryset.filter(state=ErasureRequest.State.AWAITING_APPROVAL),
            "soon": still.filter(deadline__lt=now + timedelta(days=3)),
            "late": still.filter(deadline__lt=now),
        }
        return found.get(self.value() or "", queryset)


class Standing(admin.SimpleListFilter):
    """By state, as the viewer may know it."""

    title = "state"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in ErasureRequest.State.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ErasureRequest]) -> QuerySet[ErasureRequest]:
        asked = self.value()
        if not asked:
            return queryset
        viewer, state = actor_of(request), ErasureRequest.State
        if asked not in (state.RETAINED, state.BLOCKED_BY_HOLD) or statements.sees_all(viewer):
            return queryset.filter(state=asked)
        stopped = queryset.filter(state__in=[state.RETAINED, state.BLOCKED_BY_HOLD])
        return queryset.filter(
            pk__in=[each.pk for each in stopped if statements.shown_code(each, viewer) == asked]
        )


@admin.register(ErasureRequest)
class RequestDesk(Desk):
    """Erasure requests. Nobody is named in clear here."""

    list_display = ("id", "shown_state", "left", "tenant", "subject", "regime", "received", "short_reason")
    list_filter = (Waiting, Standing, "regime", "subject_kind", "tenant")
    search_fields = ("id", "tenant__id")
    search_help_text = "Id of a request or of a tenant"
    ordering = ("deadline",)
    page_template = "lifecycle/request.html"
    expected = EXPECTED

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("compliance.add_erasurerequest")

    def more_urls(self, name: str) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [path("<path:object_id>/live/", wrap(self.live_view), name=f"{name}_live")]

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return request_page.of(row, actor_of(request))

    def verbs(self) -> dict[str, Callable[[HttpRequest, Any], str | HttpResponseBase | None]]:
        plain = (
            verbs.approve, verbs.reject, verbs.extend, verbs.cancel, verbs.retry, verbs.preview, verbs.around_hold,
            verbs.delay, verbs.decide_mentions, verbs.settle,
        )  # fmt: skip
        return {
            **{each.__name__: each for each in plain},
            "read_subject": self.read_subject,
            "read_mentions": self.read_mentions,
        }

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The live table alone. Tells the page when the rest of it is out of date."""
        row = self.row(request, object_id)
        shown = request_page.live(row, actor_of(request))
        response = TemplateResponse(request, "lifecycle/live.html", shown)
        response["Cache-Control"] = "no-store"
        if request.GET.get("seen") != shown["token"]:
            response["HX-Trigger"] = "out-of-date"
        return response

    def read_subject(self, request: HttpRequest, row: ErasureRequest) -> HttpResponseBase:
        """Who it is about, in clear; the look is audited."""
        content = reading.read_subject(row, actor=actor_of(request))
        return self.show(
            request, "lifecycle/subject.html", f"Who {row.pk} is about", row, {"content": content}
        )

    def read_mentions(self, request: HttpRequest, row: ErasureRequest) -> HttpResponseBase:
        """The mentions in clear, to decide each; the look is audited."""
        found = mentions.read(row, actor=actor_of(request))
        found.sort(key=lambda each: (each["choice"] != "open", each["id"]))
        shown = {"found": found[:200], "more": max(0, len(found) - 200)}
        return self.show(request, "lifecycle/mentions.html", f"Mentions of {row.pk}", row, shown)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Files a request for somebody who asked by another way, then counts the systems."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = FilingForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            row = self._file(request, form)
            if row is not None:
                return HttpResponseRedirect(self.page_url(row))
        return self.show(request, "lifecycle/file.html", "File a request", None, {"form": form})

    def _file(self, request: HttpRequest, form: FilingForm) -> ErasureRequest | None:
        actor = actor_of(request)
        try:
            row = filing.file_request(actor=actor, **form.arguments())
        except EXPECTED as failure:
            for sentence in sentences(failure):
                form.add_error(None, sentence)
            return None

        def count() -> None:
            intake.preview(row, actor=actor)

        messages.success(request, f"Request {row.pk} is filed; its deadline is {day(row.deadline)}.")
        attempt(request, count, EXPECTED)
        return row

    @admin.display(description="state", ordering="state")
    def shown_state(self, row: ErasureRequest) -> SafeString:
        return badge(row.state, statements.shown_state(row))

    @admin.display(description="time left", ordering="deadline")
    def left(self, row: ErasureRequest) -> SafeString | str:
        return clock(row.deadline) if row.state in states.OPEN else "–"

    @admin.display(description="about", ordering="subject_kind")
    def subject(self, row: ErasureRequest) -> str:
        return row.get_subject_kind_display()

    @admin.display(description="received", ordering="received_at")
    def received(self, row: ErasureRequest) -> str:
        return day(row.received_at)

    @admin.display(description="why it stands here")
    def short_reason(self, row: ErasureRequest) -> str:
        return row.state_reason[:90]
