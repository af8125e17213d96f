"""The admin's frame: title, sidebar, colours (django-unfold)."""

from __future__ import annotations

from typing import Any

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Tenant lifecycle",
    "SITE_HEADER": "Tenant lifecycle",
    "SITE_SYMBOL": "verified_user",
    "SHOW_VIEW_ON_SITE": False,
}
