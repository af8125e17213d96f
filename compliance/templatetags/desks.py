"""Words and marks of the desks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString

from compliance import statements
from compliance.actors import Actor
from compliance.models import ErasureRequest

register = template.Library()

_TONES = {
    "good": "traffic_cutover_complete completed erased anonymised done released attested notified gone unchanged approve active_tenant",
    "busy": "provisioning_green initial_sync dual_write_enabled incremental_sync traffic_cutover_started blue_decommissioned scheduled executing verifying certifying erasing discovered running reopened preserving",
    "wait": "initiated awaiting_approval received validated waiting paused open pending pending_purge release_requested intended planted seen",
    "hold": "rolled_back blocked_by_hold blocked retained partially_completed locked active frozen around_hold delay",
    "bad": "failed rejected reject unexplained",
    "calm": "cancelled cancel expired lifted changed extend not_this_person",
}
_TONE_OF = {name: tone for tone, names in _TONES.items() for name in names.split()}
_SYSTEMS = {
    "postgresql": "PostgreSQL",
    "pinecone": "Pinecone",
    "s3": "S3",
    "redis": "Redis",
    "cloudwatch": "CloudWatch",
    "backups": "Backups",
    "analytics": "Analytics",
}


@register.simple_tag
def badge(value: str, label: str = "") -> SafeString:
    """A state as a coloured mark; the words are always there, too."""
    tone = _TONE_OF.get(str(value), "calm")
    return format_html('<span class="lc-badge lc-{}">{}</span>', tone, label or str(value).replace("_", " "))


@register.filter
def system_name(value: str) -> str:
    """A system as people call it."""
    return _SYSTEMS.get(value, value)


@register.filter
def when(value: datetime | str | None) -> str:
    """25 Nov 2026, 19:34 UTC."""
    moment = parse_datetime(value) if isinstance(value, str) else value
    return f"{moment.astimezone(UTC):%-d %b %Y, %H:%M} UTC" if moment else "–"


@register.filter
def day(value: datetime | str | None) -> str:
    """25 Nov 2026."""
    moment = parse_datetime(value) if isinstance(value, str) else value
    return f"{moment.astimezone(UTC):%-d %b %Y}" if moment else "–"


@register.filter
def number(value: Any) -> str:
    """1,234,567; a dash where nothing is known."""
    return "–" if value is None else f"{value:,}"


@register.filter
def duration(value: float | None) -> str:
    """Seconds in words: 4 s, 3 min, 2 h."""
    if value is None:
        return "–"
    if value < 120:
        return f"{value:.0f} s" if value >= 10 or value == int(value) else f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


@register.filter
def short(value: str) -> str:
    """The first 12 characters of a digest."""
    return f"{value[:12]}…" if len(value) > 13 else value


@register.filter
def share(done: int, total: int) -> int:
    """Percent, 0 to 100."""
    return min(100, round(100 * done / total)) if total else 0


@register.filter
def rest(percent: int) -> int:
    """What a share leaves of 100."""
    return 100 - percent


@register.filter
def spaced(value: str) -> str:
    """`release_requested` as words."""
    return str(value).replace("_", " ").replace(".", ": ", 1)


def days_left(deadline: datetime) -> int:
    """Whole days until the deadline; negative past it."""
    return (deadline - timezone.now()).days


@register.simple_tag
def clock(deadline: datetime) -> SafeString:
    """Days left, red under three."""
    left = deadline - timezone.now()
    if left.total_seconds() < 0:
        text = f"{max(1, -left.days)} days late" if -left.days > 1 else "late"
    elif left.days < 1:
        text = f"{int(left.total_seconds() // 3600)} hours left"
    else:
        text = "1 day left" if left.days == 1 else f"{left.days} days left"
    tone = "bad" if left.days < 3 else "hold" if left.days < 7 else "calm"
    return format_html('<span class="lc-badge lc-{}">{}</span>', tone, text)


@register.simple_tag
def shown_state(request: ErasureRequest, viewer: Actor) -> SafeString:
    """A request's state as its viewer may know it."""
    words = statements.shown_state(request, viewer)
    tone = "retained" if words == statements.RETAINED else request.state
    return badge(tone, words)
