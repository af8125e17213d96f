"""The data map: its versions, what has drifted from it, publishing a new one by upload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from unfold.widgets import UnfoldAdminFileFieldWidget

from compliance.access import lacks
from compliance.actors import ENGINEER
from compliance.admin.desk import Desk, actor_of, attempt
from compliance.errors import Refused
from compliance.templatetags.desks import short, when
from lifecycle import tenants
from lifecycle.admin.errors import EXPECTED
from lifecycle.models import DataMapVersion, Tenant

MOST_BYTES = 1_000_000


class PublishingForm(forms.Form):
    """The YAML file."""

    document = forms.FileField(
        label="Data map (YAML)", widget=UnfoldAdminFileFieldWidget,
        help_text="The whole map. It is in force at once; plans made with another version are counted again.",
    )  # fmt: skip


@admin.register(DataMapVersion)
class DataMapDesk(Desk):
    """Versions of the data map; the newest one is in force."""

    list_display = ("version", "published", "published_by", "fingerprint")
    page_template = "lifecycle/datamap.html"
    expected = EXPECTED

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("lifecycle.add_datamapversion")

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        newest = DataMapVersion.objects.first()
        return {
            "in_force": newest is not None and newest.pk == row.pk,
            "tenants": Tenant.objects.exclude(status=Tenant.Status.ERASED),
        }

    def verbs(self) -> dict[str, Callable[[HttpRequest, Any], str | HttpResponseBase | None]]:
        return {"drift": self.drift}

    def drift(self, request: HttpRequest, row: DataMapVersion) -> HttpResponseBase:
        """Compares one tenant's live systems with the map in force."""
        tenant = Tenant.objects.filter(pk=request.POST.get("tenant", "")).first()
        if tenant is None:
            raise Refused("Choose a tenant whose systems are compared with the map.")
        found = {"drift": tenants.drift(tenant, tenants.current_map()), "compared": tenant}
        return self.show(
            request, self.page_template, f"Data map {row}", row, {**self.context(request, row), **found}
        )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Publishes an uploaded map."""
        actor = actor_of(request)
        if not self.has_add_permission(request) or lacks(actor, ENGINEER):
            raise PermissionDenied
        form = PublishingForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            made: list[DataMapVersion] = []

            def publish() -> str:
                made.append(tenants.publish_map(_text(form.cleaned_data["document"]), actor=actor))
                return f"Version {made[0].version} is in force."

            attempt(request, publish, self.expected)
            if made:
                return HttpResponseRedirect(self.page_url(made[0]))
        return self.show(request, "lifecycle/publish.html", "Publish a data map", None, {"form": form})

    @admin.display(description="published", ordering="published_at")
    def published(self, row: DataMapVersion) -> str:
        return when(row.published_at)

    @admin.display(description="digest")
    def fingerprint(self, row: DataMapVersion) -> str:
        return short(row.digest)


def _text(upload: Any) -> str:
    if upload.size > MOST_BYTES:
        raise Refused("The file is larger than a megabyte; that is no data map.")
    try:
        return str(upload.read().decode())
    except UnicodeDecodeError:
        raise Refused("The file is not UTF-8 text.") from None
