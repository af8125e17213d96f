"""The desk of the audit trail: read, and verified on demand. What hidden holds did is legal's alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from compliance import statements
from compliance.actions import heads
from compliance.admin.desk import Desk, actor_of
from compliance.models import AuditEvent, AuditHead
from compliance.templatetags.desks import short, when

MOST_PROBLEMS = 20
_DIGEST = 64  # characters of a SHA-256


class Verb(admin.SimpleListFilter):
    """By the first word of the verb: request, hold, certificate ..."""

    title = "about"
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = AuditEvent.objects.order_by("verb").values_list("verb", flat=True).distinct()
        words = sorted({verb.split(".")[0] for verb in known} - {"hold"})
        return [
            (word, word) for word in (*words, *(["hold"] if statements.sees_all(actor_of(request)) else []))
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(verb__startswith=f"{self.value()}.") if self.value() else queryset


@admin.register(AuditEvent)
class AuditDesk(Desk):
    """Append-only; nobody changes it, here or anywhere."""

    list_display = ("seq", "moment", "actor", "verb", "tenant_id", "case_id")
    list_filter = (Verb,)
    search_fields = ("=case_id", "=tenant_id", "=actor")
    search_help_text = "Exact id of a request, hold or tenant, or an account"
    ordering = ("-seq",)
    list_before_template = "compliance/audit_bar.html"
    page_template = "compliance/audit_event.html"

    def more_urls(self, name: str) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [path("verify/", wrap(require_POST(self.verify_view)), name=f"{name}_verify")]

    def get_list_display(self, request: HttpRequest) -> list[str | Callable[..., Any]]:
        """Outside legal the events of hidden holds stand in the list without their content: the chain shows no gap."""
        hidden = statements.veil(actor_of(request))

        def veiled(
            name: str, show: Callable[[AuditEvent], Any], instead: str = ""
        ) -> Callable[[AuditEvent], Any]:
            def column(row: AuditEvent) -> Any:
                return instead if hidden.covers(row) else show(row)

            column.__name__ = name
            column.short_description = name  # type: ignore[attr-defined]
            return column

        return [
            "seq",
            "moment",
            veiled("who", lambda row: row.actor),
            veiled("what", lambda row: row.verb.replace("_", " ").replace(".", ": ", 1), statements.RETAINED),
            veiled("tenant", lambda row: row.tenant_id),
            veiled("case", _case),
            veiled("facts", _facts),
        ]

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        found, doubles = super().get_search_results(request, queryset, search_term)
        if search_term and (hidden := statements.veil(actor_of(request)).holds):
            found = found.exclude(case_id__in=hidden)
        return found, doubles

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        veiled = statements.veil(actor_of(request)).covers(row)
        return {"veiled": veiled, "facts": "" if veiled else json.dumps(row.data, indent=2, sort_keys=True)}

    def verify_view(self, request: HttpRequest) -> HttpResponse:
        """Checks the whole chain, its signed heads and their signatures."""
        problems = heads.verify()
        for problem in problems[:MOST_PROBLEMS]:
            messages.error(request, problem)
        if len(problems) > MOST_PROBLEMS:
            messages.error(
                request, f"And {len(problems) - MOST_PROBLEMS} more; `manage.py audit verify` lists all."
            )
        if not problems:
            count, signed = AuditEvent.objects.count(), AuditHead.objects.count()
            messages.success(
                request, f"All {count:,} events and {signed} signed heads are genuine and complete."
            )
        return HttpResponseRedirect(reverse("admin:compliance_auditevent_changelist"))

    @admin.display(description="when", ordering="at")
    def moment(self, row: AuditEvent) -> str:
        return when(row.at)


def _case(row: AuditEvent) -> SafeString | str:
    model = {"er": "erasurerequest", "lh": "legalhold"}.get(row.case_id.split("-")[0])
    if model is None:
        return row.case_id
    return format_html(
        '<a href="{}">{}</a>', reverse(f"admin:compliance_{model}_change", args=[row.case_id]), row.case_id
    )


def _facts(row: AuditEvent) -> str:
    shown = {key: value for key, value in row.data.items() if key not in ("role", "via")}
    text = ", ".join(
        f"{key}: {short(value) if isinstance(value, str) and len(value) == _DIGEST else value}"
        for key, value in shown.items()
    )
    return text if len(text) < 100 else f"{text[:97]}…"
