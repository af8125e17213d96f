"""May the move advance? Every gate must say yes on fresh data; silence never does.

The watchdog judges each second and trips by itself. Here the same is asked once more before each step forth: is it
alive, was its last reading good, and does Prometheus, which measures by another way, see the tenant too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from lifecycle.migration import movers
from lifecycle.models import Beat, Migration, Reading
from lifecycle.secrets import resolve
from lifecycle.systems.base import Permanent, Transient

_SCRAPED_S = 30.0  # Prometheus scrapes every 15 s unless told otherwise; one scrape may fail


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate as it was read; `why` says what is missing where it is not open."""

    name: str
    value: Any
    limit: Any
    ok: bool
    why: str = ""

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def read(migration: Migration) -> list[Gate]:
    """All gates now."""
    return [beat("watchdog"), *watched(migration), prometheus(migration)]


def closed(gates: Sequence[Gate]) -> str:
    """The sentences of the gates that are not open; '' where all are."""
    return " ".join(gate.why or f"Gate {gate.name} is closed." for gate in gates if not gate.ok)


def beat(name: str) -> Gate:
    """A process of ours was seen within the last seconds."""
    limit = float(settings.MIGRATION["fresh_seconds"])
    found = Beat.objects.filter(name=name).first()
    if found is None:
        return Gate(
            f"{name} alive", None, limit, False, f"The {name} has never been seen. Start `manage.py {name}`."
        )
    age = (timezone.now() - found.at).total_seconds()
    why = "" if age < limit else f"The {name} was last seen {age:.0f} s ago."
    return Gate(f"{name} alive", round(age, 1), limit, not why, why)


def watched(migration: Migration) -> list[Gate]:
    """The watchdog's own gates, by its newest reading."""
    limit = float(settings.MIGRATION["fresh_seconds"])
    last = Reading.objects.filter(migration=migration).order_by("-id").first()
    if last is None or timezone.now() - last.at > timedelta(seconds=limit):
        return [Gate("reading", None, limit, False, "There is no fresh reading of blue and green.")]
    found = [
        Gate(
            str(each.get("name", "")),
            each.get("value"),
            each.get("limit"),
            bool(each.get("ok")),
            "" if each.get("ok") else str(each.get("why") or f"Gate {each.get('name')} is closed."),
        )
        for each in last.data.get("gates", [])
    ]
    verdict = last.data.get("verdict", "ok" if found else "")
    if verdict != "ok" and all(gate.ok for gate in found):
        found.append(Gate("verdict", verdict or None, "ok", False, "The watchdog holds the move."))
    back = last.data.get("ready_back") or {}
    ready = back.get("seconds") is not None
    found.append(
        Gate(
            "way back",
            back.get("seconds"),
            None,
            ready,
            "" if ready else "The way back to blue is not ready.",
        )
    )
    return found


def prometheus(migration: Migration) -> Gate:
    """What green's Prometheus counted of the tenant: fresh, and no more errors than the watchdog would allow.

    Its p95 is shown by others: it mixes reads with writes, and under safe soak a write is slower by design.
    """
    if migration.settings.get("prometheus") is False:
        return Gate("prometheus", "not asked", None, True)
    green = movers.target_of(migration)
    place = green.places.get("analytics", {})
    if not place.get("prometheus"):
        return _unseen("No Prometheus is named for green, so nobody else sees it.")
    # Here: every command loads this module, few ask Prometheus.
    from lifecycle.health import gates as health
    from lifecycle.health import prometheus as eyes

    names = eyes.Names(requests=str(migration.settings.get("metric") or eyes.Names().requests))
    try:
        seen = eyes.read(resolve(place["prometheus"]), migration.tenant_id, green.region, names=names)
    except (Transient, Permanent):
        return _unseen("Green's Prometheus does not answer.")
    limits = health.Limits.of(dict(migration.settings.get("gates") or {}))
    if seen.age_s is None:
        return _unseen("Green's Prometheus has no measurements of this tenant.")
    if seen.age_s > _SCRAPED_S:
        return _unseen(f"Green's Prometheus last measured this tenant {seen.age_s:.0f} s ago.")
    share = seen.errors / seen.count if seen.count else 0.0
    # `increase` is extrapolated: whole requests are what can be counted, and never more errors than requests.
    count = max(round(seen.count), round(seen.errors))
    lower = health.wilson_lower(round(seen.errors), count, limits.error_z)
    bad = seen.errors >= limits.least_errors and lower > limits.error_rate
    why = f"Green's Prometheus counts at least {lower:.1%} failed requests." if bad else ""
    return Gate("prometheus", round(share, 4), limits.error_rate, not bad, why)


def _unseen(why: str) -> Gate:
    return Gate("prometheus", None, 1, False, why)
