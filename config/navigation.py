"""The admin's frame: title, sidebar, colours (django-unfold)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse, reverse_lazy


def _may(permission: str) -> Callable[[HttpRequest], bool]:
    def allowed(request: HttpRequest) -> bool:
        return request.user.has_perm(permission)

    return allowed


def _item(title: str, icon: str, model: str, app: str = "compliance") -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_changelist"),
        "permission": _may(f"{app}.view_{model}"),
    }


def _on_moves(request: HttpRequest) -> bool:
    """The fleet's page lies below the list of moves, and has an entry of its own."""
    moves, fleet = reverse("admin:lifecycle_migration_changelist"), reverse("admin:lifecycle_migration_fleet")
    return request.path.startswith(moves) and not request.path.startswith(fleet)


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Tenant lifecycle",
    "SITE_HEADER": "Tenant lifecycle",
    "SITE_SYMBOL": "verified_user",
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_HISTORY": False,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("lifecycle/mark.svg")}
    ],
    "DASHBOARD_CALLBACK": "lifecycle.admin.dashboard.callback",
    "STYLES": [lambda _request: static("lifecycle/desks.css")],
    "SCRIPTS": [lambda _request: static("lifecycle/desks.js")],
    "COLORS": {
        "primary": {
            "50": "oklch(97.1% .014 230)",
            "100": "oklch(93.6% .030 230)",
            "200": "oklch(88.2% .055 231)",
            "300": "oklch(80.4% .090 232)",
            "400": "oklch(70.5% .120 235)",
            "500": "oklch(60.0% .125 238)",
            "600": "oklch(50.5% .115 241)",
            "700": "oklch(43.5% .100 242)",
            "800": "oklch(38.0% .084 242)",
            "900": "oklch(33.0% .070 243)",
            "950": "oklch(25.0% .055 244)",
        }
    },
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            {
                "title": "Decide",
                "items": [
                    {"title": "Desk", "icon": "home", "link": reverse_lazy("admin:index")},
                    _item("Erasure requests", "person_remove", "erasurerequest"),
                    _item("Legal holds", "gavel", "legalhold"),
                    _item("Retention rules", "inventory_2", "retentionrule"),
                ],
            },
            {
                "title": "Move",
                "items": [
                    {
                        "title": "Fleet",
                        "icon": "public",
                        "link": reverse_lazy("admin:lifecycle_migration_fleet"),
                        "permission": _may("lifecycle.view_migration"),
                    },
                    {**_item("Moves", "swap_horiz", "migration", "lifecycle"), "active": _on_moves},
                ],
            },
            {
                "title": "Proof",
                "items": [
                    _item("Certificates", "workspace_premium", "certificate"),
                    _item("Audit trail", "history_edu", "auditevent"),
                ],
            },
            {
                "title": "Platform",
                "items": [
                    _item("Tenants", "apartment", "tenant", "lifecycle"),
                    _item("Environments", "dns", "environment", "lifecycle"),
                    _item("Data map", "map", "datamapversion", "lifecycle"),
                    _item("Runs", "conversion_path", "run", "lifecycle"),
                    _item("API tokens", "key", "apitoken"),
                    _item("Accounts", "group", "user", "auth"),
                ],
            },
        ],
    },
}
