"""What a tenant's tier asks of its move, and the settings that a plan may name for itself. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lifecycle.models import Migration, Tenant

SAFE, FAST = Migration.Soak.SAFE, Migration.Soak.FAST
_OWN = {
    "steps",
    "step_seconds",
    "soak_seconds",
    "hold_seconds",
    "gates",
    "changes_behind",
    "prometheus",
    "metric",
}


def soak_of(tenant: Tenant, asked: str | None) -> str:
    """The soak of a move: what was asked, else what the tier has."""
    return asked or (SAFE if tenant.tier == Tenant.Tier.PLATINUM else FAST)


def reasons(
    tenant: Tenant, soak: str, override_reason: str, window: Mapping[str, str] | None, rehearsed: bool
) -> list[str]:
    """Why the tier forbids such a move; [] where it allows it."""
    found: list[str] = []
    if tenant.tier == Tenant.Tier.PLATINUM:
        if not rehearsed and not override_reason.strip():
            found.append(
                "A platinum tenant moves after a passed rehearsal on a clone. Without one, give a reason (--override-reason); "
                "it is recorded."
            )
        if soak != SAFE:
            found.append(
                "A platinum tenant moves with safe soak: each write is in both regions before its answer."
            )
    if window is not None:
        if tenant.tier != Tenant.Tier.BRONZE:
            found.append("Only a bronze tenant's move may choose a maintenance window.")
        found += _window_reasons(window)
    return found


def _window_reasons(window: Mapping[str, str]) -> list[str]:
    try:
        begins, ends = (datetime.fromisoformat(window[name]) for name in ("from", "until"))
    except (KeyError, ValueError):
        return ["Give the maintenance window as two times with zone (from, until)."]
    if begins.tzinfo is None or ends.tzinfo is None or ends <= begins:
        return ["Give the maintenance window as two times with zone (from, until), the later one last."]
    return []


def window_wait(migration: Migration, now: datetime) -> tuple[datetime, str] | None:
    """Until when the cutover waits for its window, and why; None where it may begin. A window that is over: never."""
    window = migration.settings.get("window")
    if not window:
        return None
    begins, ends = (datetime.fromisoformat(window[name]) for name in ("from", "until"))
    if now < begins:
        return begins, f"The maintenance window begins at {begins:%Y-%m-%d %H:%M %Z}."
    if now >= ends:
        return datetime.max.replace(
            tzinfo=ends.tzinfo
        ), "The maintenance window is over. Cancel this move and plan another."
    return None


def merged(defaults: Mapping[str, Any], own: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings of one move: the program's, with the plan's own over them. Raises ValueError for an unknown name."""
    given = dict(own or {})
    if unknown := sorted(set(given) - _OWN):
        raise ValueError(f"A plan has no settings {', '.join(unknown)}. It has {', '.join(sorted(_OWN))}.")
    made = {
        name: defaults[name] for name in ("steps", "step_seconds", "soak_seconds", "hold_seconds")
    } | given
    steps = [int(each) for each in made["steps"]]
    if not steps or steps != sorted(set(steps)) or steps[0] < 1 or steps[-1] != 100:
        raise ValueError("Steps are rising percentages that end with 100.")
    return made | {"steps": steps}
