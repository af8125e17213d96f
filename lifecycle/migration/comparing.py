"""Blue beside green, key by key: until one pass over every system finds nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.utils import timezone

from lifecycle.migration import movers
from lifecycle.models import Migration
from lifecycle.systems.movable import Difference

_SLICE = 8.0
_UNITS = {"postgresql": "rows", "s3": "objects", "pinecone": "vectors"}


def one(mover: Any, cursor: Any, seconds: float) -> tuple[list[Difference], Any]:
    """A slice of comparing: what differs, and the cursor; None ends the pass."""
    if mover.name == "postgresql" and cursor is None:
        mover.sync_objects(seconds)
    page = mover.compare(cursor, seconds)
    return list(page.entries), page.cursor


def whole(
    migration: Migration, *, repair: bool, say: Callable[[str, int], None] = lambda _system, _found: None
) -> tuple[list[Difference], int]:
    """One pass over every system; (what differs, how much was mended). With `repair` what was mended is looked at again."""
    found: list[Difference] = []
    mended = 0
    for system in movers.of(migration):
        with movers.mover(migration, system) as mover:
            differing = _pass(mover)
            if repair and differing:
                mended += mover.repair(differing)
                differing = _pass(mover)
        say(system, len(differing))
        found += differing
    return found, mended


def kinds(differences: Sequence[Difference]) -> dict[str, int]:
    """How many of each kind."""
    return dict(Counter(str(each.kind) for each in differences))


def record(migration: Migration, found: Mapping[str, int], compared: Mapping[str, int]) -> dict[str, Any]:
    """Remembers what the last comparison came to: numbers only, since keys can name people."""
    verification = {
        "kinds": {name: number for name, number in found.items() if number},
        "at": f"{timezone.now():%Y-%m-%dT%H:%M:%SZ}",
        "clean": not any(found.values()),
        "compared": dict(compared),
    }
    Migration.objects.filter(pk=migration.pk).update(verification=verification)
    migration.verification = verification
    return verification


def sizes(migration: Migration) -> dict[str, int]:
    """{"rows", "objects", "vectors"} on blue now."""
    found: dict[str, int] = {}
    for system in movers.of(migration):
        if system in _UNITS:
            with movers.mover(migration, system) as mover:
                found[_UNITS[system]] = int(mover.size()["items"])
    return found


def _pass(mover: Any) -> list[Difference]:
    found: list[Difference] = []
    cursor: Any = None
    while True:
        more, cursor = one(mover, cursor, _SLICE)
        found += more
        if cursor is None:
            return found
