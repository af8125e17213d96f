"""The desk of legal holds: legal places and releases them; hidden ones are legal's alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from compliance import statements
from compliance.actions import holds
from compliance.admin.desk import Desk, actor_of, attempt, choices
from compliance.judgement import judge
from compliance.models import AuditEvent, ErasureRequest, LegalHold
from compliance.templatetags.desks import badge, day


class PlacingForm(forms.Form):
    """What `compliance.actions.holds.place` takes."""

    tenant_id = forms.ChoiceField(label="Tenant", widget=UnfoldAdminSelectWidget)
    user = forms.CharField(
        label="User id (custodian)", required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "placeholder": "empty: the whole tenant"}),
        help_text="The platform's own id of the person whose data is kept. Kept under the hold's own key.",
    )  # fmt: skip
    category = forms.CharField(
        label="Data category", required=False, widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "empty: every category"}),
        help_text="A category of the data map, where only that is needed. Keep the scope as narrow as the case is.",
    )  # fmt: skip
    case_reference = forms.CharField(
        label="Case", widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    )
    type = forms.ChoiceField(choices=LegalHold.Type.choices, widget=UnfoldAdminSelectWidget)
    until = forms.DateField(
        label="Last day", required=False, widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
        help_text="Empty: until it is released by two people.",
    )  # fmt: skip
    confidential = forms.BooleanField(
        required=False,
        help_text="Outside legal it shows only as “retained under Art. 17(3)”. A criminal hold always does.",
    )  # fmt: skip
    reason = forms.CharField(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tenants = apps.get_model("lifecycle", "Tenant").objects.values_list("pk", "name")
        choice = self.fields["tenant_id"]
        if isinstance(choice, forms.ChoiceField):
            choice.choices = choices(((pk, f"{pk} · {name}") for pk, name in tenants), "Choose…")

    def arguments(self) -> dict[str, Any]:
        """For the action: the last day as its last moment, UTC."""
        given = dict(self.cleaned_data)
        given["until"] = datetime.combine(given["until"], time.max, UTC) if given["until"] else None
        return {**given, "user": given["user"] or None}


@admin.register(LegalHold)
class HoldDesk(Desk):
    """Legal holds that the viewer may see."""

    list_display = (
        "id",
        "shown_state",
        "tenant",
        "scope",
        "category",
        "case_reference",
        "type",
        "placed",
        "last_day",
        "stops",
    )
    list_filter = ("state", "type", "tenant")
    search_fields = ("id", "case_reference", "tenant__id")
    page_template = "compliance/hold.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("compliance.add_legalhold")

    def get_queryset(self, request: HttpRequest) -> QuerySet[LegalHold]:
        every: QuerySet[LegalHold] = super().get_queryset(request).select_related("tenant")
        if statements.sees_all(actor_of(request)):
            return every
        return every.exclude(statements.HIDDEN)

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        viewer = actor_of(request)
        blocking = row.state in LegalHold.BLOCKING
        return {
            "reasons": holds.check_release(row, actor=viewer, reason="typed later"),
            "blocking": blocking,
            "why": holds.reason_of(row) if statements.sees_all(viewer) else "",
            "custodian": bool(row.subject_pseudonym),
            "stopped": stopped_by(row) if blocking else [],
            "timeline": AuditEvent.objects.filter(case_id=row.pk).order_by("-seq")[:50],
            "sees_all": statements.sees_all(viewer),
        }

    def verbs(self) -> dict[str, Callable[[HttpRequest, Any], str | HttpResponseBase | None]]:
        return {"release": self.release, "custodian": self.custodian}

    def release(self, request: HttpRequest, row: LegalHold) -> str:
        """The first person asks, a second one releases."""
        holds.release(row, actor=actor_of(request), reason=request.POST.get("reason", ""))
        if row.state == LegalHold.State.RELEASE_REQUESTED:
            return "The release is asked for. The hold still blocks until a second person of legal confirms."
        return "Released. What only this hold stopped goes on by itself."

    def custodian(self, request: HttpRequest, row: LegalHold) -> HttpResponseBase:
        """Whose data is held, in clear; legal only, audited."""
        shown = holds.read_custodian(row, actor=actor_of(request))
        return self.show(
            request, self.page_template, str(row), row, {**self.context(request, row), "held_user": shown}
        )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Places a hold; returns when no deletion in its scope is in flight any more."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = PlacingForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            made: list[LegalHold] = []

            def place() -> str:
                made.append(holds.place(actor=actor_of(request), **form.arguments()))
                stopped = stopped_by(made[0])
                told = (
                    f" It stops {', '.join(each.pk for each in stopped)}."
                    if stopped
                    else " It stops no open request."
                )
                return f"Hold {made[0].pk} is in force: nothing in its scope is destroyed from now on.{told}"

            attempt(request, place, self.expected)
            if made:
                return HttpResponseRedirect(self.page_url(made[0]))
        elif request.method == "POST":
            messages.error(request, "The hold was not placed. See the marked fields.")
        return self.show(request, "compliance/place_hold.html", "Place a legal hold", None, {"form": form})

    @admin.display(description="state", ordering="state")
    def shown_state(self, row: LegalHold) -> SafeString:
        return badge(row.state, row.get_state_display())

    @admin.display(description="covers")
    def scope(self, row: LegalHold) -> str:
        return "one user" if row.subject_pseudonym else "whole tenant"

    @admin.display(description="placed", ordering="placed_at")
    def placed(self, row: LegalHold) -> str:
        return day(row.placed_at)

    @admin.display(description="last day", ordering="until")
    def last_day(self, row: LegalHold) -> str:
        return day(row.until)

    @admin.display(description="stops")
    def stops(self, row: LegalHold) -> str:
        return ", ".join(each.pk for each in stopped_by(row)) if row.state in LegalHold.BLOCKING else ""


def stopped_by(hold: LegalHold) -> list[ErasureRequest]:
    """The requests that stand at `blocked by hold` because of this hold, too."""
    blocked = ErasureRequest.objects.filter(
        tenant_id=hold.tenant_id, state=ErasureRequest.State.BLOCKED_BY_HOLD
    ).select_related("tenant")
    now = timezone.now()
    return [
        each
        for each in blocked
        if hold.pk in {found.pk for found in judge(each, categories=(), at=now).holds}
    ]
