"""Filters of the certificate's page: numbers, times and hashes as a reader wants them."""

from __future__ import annotations

import re
from typing import Any

from django import template
from django.utils.safestring import SafeString, mark_safe

from compliance.certificate import wording

register = template.Library()


@register.filter
def human(moment: Any) -> str:
    """`25 November 2026, 19:05 UTC`; a dash where there is no time."""
    return wording.human(moment) if moment else "–"


@register.filter
def short(moment: Any) -> str:
    """`2026-11-25 19:05:09` of an RFC 3339 time."""
    return str(moment)[:19].replace("T", " ") if moment else "–"


@register.filter
def day(moment: Any) -> str:
    """`2026-11-25`."""
    return wording.day(moment) if moment else "–"


@register.filter
def number(count: Any) -> str:
    """`1 000 000`, with narrow spaces that don't break."""
    return f"{count:,}".replace(",", "\u202f") if isinstance(count, int) else "–"


@register.filter
def system(name: str) -> str:
    """A system's name in words."""
    return wording.SYSTEMS.get(name, name)


@register.filter
def role(name: Any) -> str:
    """A role as people call it."""
    return "compliance officer" if name == "compliance" else str(name)


@register.filter
def event(what: Any) -> str:
    """An audit verb as words (`request.filed` is `request filed`); a sentence as it is."""
    text = str(what)
    return re.sub("[._]", " ", text) if re.fullmatch(r"[a-z_]+\.[a-z_]+", text) else text


@register.filter
def grouped(digits: Any) -> SafeString:
    """Hex digits in groups of four that may break between groups. Anything but hex digits is refused (ValueError)."""
    text = str(digits)
    int(text, 16)
    return mark_safe("<wbr>".join(f"<span>{text[at : at + 4]}</span>" for at in range(0, len(text), 4)))  # noqa: S308


@register.filter
def retention(entry: dict[str, Any]) -> str:
    """The ground and the date of a retained part."""
    return wording.retention(entry)
