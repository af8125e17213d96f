"""Tenants and their environments: read here; engineers change them through `manage.py tenant` and the API."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from compliance.actions import states
from compliance.admin.desk import Desk, actor_of
from compliance.models import ErasureRequest
from compliance.statements import visible_holds
from compliance.templatetags.desks import badge, day
from lifecycle.models import Environment, Tenant
from lifecycle.systems.base import SYSTEMS


@admin.register(Tenant)
class TenantDesk(Desk):
    """Customers of the platform."""

    list_display = ("id", "name", "standing", "tier", "kind", "home_region", "requests")
    list_filter = ("status", "tier", "kind", "home_region")
    search_fields = ("id", "name")
    page_template = "lifecycle/tenant.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        every: QuerySet[Tenant] = super().get_queryset(request)
        return every.annotate(requests_made=Count("erasure_requests"))

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        viewer = actor_of(request)
        return {
            "environments": row.environments.all(),
            "contacts": row.contacts.all(),
            "requests": ErasureRequest.objects.filter(tenant=row).order_by("-filed_at")[:20],
            "open_states": states.OPEN,
            "holds": [each for each in visible_holds(viewer) if each.tenant_id == row.pk],
        }

    @admin.display(description="status", ordering="status")
    def standing(self, row: Tenant) -> SafeString:
        return badge("done" if row.status == Tenant.Status.ACTIVE else row.status, row.get_status_display())

    @admin.display(description="requests", ordering="requests_made")
    def requests(self, row: Any) -> int:
        return int(row.requests_made)


@admin.register(Environment)
class EnvironmentDesk(Desk):
    """Where a tenant's data lies. Secrets are references, and shown as such."""

    list_display = ("id", "tenant", "region", "role", "systems", "since", "gone")
    list_filter = ("region", "role", "tenant")
    search_fields = ("id", "tenant__id")
    page_template = "lifecycle/environment.html"

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {
            "places": [(name, sorted(row.places[name].items())) for name in SYSTEMS if name in row.places]
        }

    @admin.display(description="systems")
    def systems(self, row: Environment) -> int:
        return len(row.places)

    @admin.display(description="since", ordering="created_at")
    def since(self, row: Environment) -> str:
        return day(row.created_at)

    @admin.display(description="gone")
    def gone(self, row: Environment) -> str:
        return day(row.gone_at) if row.gone_at else ""
