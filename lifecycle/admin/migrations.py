"""The board of one move, and the fleet: which tenant is where, and what is under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from compliance.actors import Actor
from compliance.admin.desk import Desk, actor_of, password_again
from compliance.templatetags.desks import badge, when
from lifecycle.admin import migration_page
from lifecycle.admin.buttons import Button
from lifecycle.admin.errors import EXPECTED
from lifecycle.migration import actions
from lifecycle.models import Migration, Tenant

_TYPED = "typed later"


@admin.register(Migration)
class MigrationDesk(Desk):
    """Moves of tenants between regions."""

    list_display = ("id", "shown_state", "tenant", "way", "on_green", "begun", "reason")
    list_filter = ("state", "source_region", "target_region")
    search_fields = ("id", "=tenant__id")
    list_select_related = ("order",)
    page_template = "lifecycle/migration.html"
    expected = EXPECTED

    def more_urls(self, name: str) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("fleet/", wrap(self.fleet_view), name=f"{name}_fleet"),
            path("<path:object_id>/live/", wrap(self.live_view), name=f"{name}_live"),
        ]

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        viewer = actor_of(request)
        return {**migration_page.of(row, viewer), "buttons": buttons(row, viewer)}

    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The picture alone, asked for every second. Tells the page when its buttons are out of date."""
        row = self.row(request, object_id)
        shown = migration_page.live(row, actor_of(request))
        response = TemplateResponse(request, "lifecycle/migration_live.html", shown)
        response["Cache-Control"] = "no-store"
        if request.GET.get("seen") != shown["token"]:
            response["HX-Trigger"] = "out-of-date"
        return response

    def fleet_view(self, request: HttpRequest) -> HttpResponse:
        """Tenants by region and tier, and the moves under way."""
        return self.show(request, "lifecycle/fleet.html", "Fleet", None, fleet())

    def verbs(self) -> dict[str, Callable[[HttpRequest, Any], str | HttpResponseBase | None]]:
        return {
            "start": self.start,
            "advance": self.advance,
            "pause": self.pause,
            "resume": self.resume,
            "rollback": self.rollback,
            "complete": self.complete,
            "cancel": self.cancel,
            "discard": self.discard,
        }

    def start(self, request: HttpRequest, row: Migration) -> str:
        """For the plan that the page showed."""
        actions.start(row, actor=actor_of(request), digest=request.POST.get("digest", ""))
        return "Started. The board follows by itself."

    def advance(self, request: HttpRequest, row: Migration) -> str:
        """Ends the soak period of this step."""
        actions.advance(row, actor=actor_of(request))
        return "It goes to the next step as soon as every gate is open."

    def pause(self, request: HttpRequest, row: Migration) -> str:
        """Traffic stays as it is; the watchdog goes on watching."""
        actions.pause(row, actor=actor_of(request))
        return "Paused. Traffic stays as it is, and the watchdog goes on watching."

    def resume(self, request: HttpRequest, row: Migration) -> str:
        """Takes it up again."""
        actions.resume(row, actor=actor_of(request))
        return "Resumed."

    def rollback(self, request: HttpRequest, row: Migration) -> str:
        """All traffic and all writes to blue, at once."""
        actions.rollback(row, actor=actor_of(request), reason=request.POST.get("reason", ""))
        return "Going back to blue now."

    def complete(self, request: HttpRequest, row: Migration) -> str | None:
        """With the password again: blue's copy is destroyed after it."""
        if not password_again(request, case_id=row.pk, tenant_id=row.tenant_id):
            return None
        actions.complete(row, actor=actor_of(request))
        return "Approved. Blue is cleared once the final comparison is clean."

    def cancel(self, request: HttpRequest, row: Migration) -> str:
        """Undoes what the move made."""
        actions.cancel(row, actor=actor_of(request))
        return "It is being cancelled: what it made is undone first."

    def discard(self, request: HttpRequest, row: Migration) -> str:
        """Green that was kept for the post-mortem goes."""
        actions.discard(row, actor=actor_of(request))
        return "Green is being cleared: its data, its marks, its state."

    @admin.display(description="state", ordering="state")
    def shown_state(self, row: Migration) -> SafeString:
        return badge(row.state, row.get_state_display())

    @admin.display(description="from and to")
    def way(self, row: Migration) -> str:
        return f"{row.source_region} → {row.target_region}"

    @admin.display(description="on green")
    def on_green(self, row: Migration) -> str:
        order = getattr(row, "order", None)
        return f"{order.share} %" if order else "–"

    @admin.display(description="begun", ordering="started_at")
    def begun(self, row: Migration) -> str:
        return when(row.started_at)


def buttons(row: Migration, viewer: Actor) -> list[Button]:
    """The buttons of the board; each that is off says why."""
    every = [
        Button(
            "start", "Start the move", "As planned below. Blue serves everything until green was verified.",
            actions.check_start(row, actor=viewer), (), "primary",
        ),
        Button(
            "rollback", "Roll back", "All traffic and all writes to blue, at once. Green is kept for the post-mortem.",
            actions.check_rollback(row, actor=viewer, reason=_TYPED), ("reason",), "danger",
        ),
        Button(
            "advance", "Advance", "Ends this step's soak period early. The gates are asked all the same.",
            actions.check_advance(row, actor=viewer),
        ),
        Button(
            "pause", "Pause", "Traffic stays as it is; the watchdog goes on watching.", actions.check_pause(row, actor=viewer),
        ),
        Button("resume", "Resume", "Takes the move up again.", actions.check_resume(row, actor=viewer)),
        Button(
            "complete", "Complete: clear blue", "A last comparison and a backup, then blue's copy is destroyed.",
            actions.check_complete(row, actor=viewer), ("password",), "danger",
        ),
        Button(
            "cancel", "Cancel", "What the move made is undone.", actions.check_cancel(row, actor=viewer), (), "danger",
        ),
        *(
            [
                Button(
                    "discard", "Give up kept green", "The post-mortem is done: green's data, marks and state go.",
                    actions.check_discard(row, actor=viewer), (), "danger",
                )
            ]
            if row.state == Migration.State.ROLLED_BACK
            else []
        ),
    ]  # fmt: skip
    return sorted(every, key=lambda each: not each.on)  # stable: what can be pressed comes first


def fleet() -> dict[str, Any]:
    """Numbers by region and tier, and what moves."""
    going = Migration.objects.exclude(state__in=Migration.ENDED).select_related("tenant", "order")
    regions: dict[str, dict[str, int]] = {}
    counted = Tenant.objects.exclude(status=Tenant.Status.ERASED).values_list("home_region", "tier")
    for region, tier, number in counted.annotate(number=Count("pk")).order_by("home_region", "tier"):
        regions.setdefault(region, {})[tier] = number
    ended = Migration.objects.filter(state__in=Migration.ENDED).order_by("-finished_at")[:20]
    tiers = [str(value) for value, _ in Tenant.Tier.choices]
    return {
        "tiers": tiers,
        "regions": [
            {
                "name": name,
                "numbers": [of_tier.get(tier, 0) for tier in tiers],
                "total": sum(of_tier.values()),
                "leaving": going.filter(source_region=name).count(),
                "arriving": going.filter(target_region=name).count(),
            }
            for name, of_tier in sorted(regions.items())
        ],
        "going": going,
        "ended": ended,
        "trouble": going.filter(Q(order__latched=True) | Q(run__state__in=["failed", "blocked"])).count(),
    }
