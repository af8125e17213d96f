"""What every step of a move begins with: the row as it is, and whether the move is still on its way forth."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

from django.utils import timezone

from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Outcome, Wait
from lifecycle.migration import movers, states, turning
from lifecycle.models import Migration
from lifecycle.systems.base import Permanent

Work = Callable[[Context, Migration], Outcome]


def migration_of(context: Context) -> Migration:
    """The migration that the run works on, read anew."""
    return Migration.objects.select_related("source", "target", "tenant").get(pk=context.run.subject)


def forth(work: Work) -> Callable[[Context], Outcome]:
    """A step that works only while nobody decided to go back; a trip of the watchdog is followed at once."""

    @wraps(work)
    def run(context: Context) -> Outcome:
        migration = migration_of(context)
        if turning.follow(migration):
            return Wait(soon(5), "The move goes back to blue.")
        return work(context, migration)

    return run


def soon(seconds: float = 1.0) -> datetime:
    """A moment from now."""
    return timezone.now() + timedelta(seconds=seconds)


def look() -> float:
    """Seconds between looks of one move in cutover or soak: few moves look each second, fifty every ten."""
    return max(1.0, Migration.objects.filter(state__in=states.IN_CUTOVER).count() / 5)


def held_too_long(context: Context, cursor: dict[str, Any], limit: float) -> bool:
    """Whether the step has been held for longer than `limit` seconds; the first call starts the clock."""
    began = cursor.setdefault("held_since", timezone.now().isoformat())
    context.cursor = cursor
    return (timezone.now() - datetime.fromisoformat(began)).total_seconds() > limit


def same_definitions(migration: Migration) -> None:
    """Raises Permanent where a table's definition changed since the plan: DDL is not replicated."""
    planned = dict(migration.plan.get("fingerprints", {}))
    if not planned or "postgresql" not in movers.of(migration):
        return
    with movers.mover(migration, "postgresql") as mover:
        now = dict(mover.fingerprints())
    if changed := sorted(region for region in planned if now.get(region) != planned[region]):
        raise Permanent(
            f"The definitions of moved tables changed in {' and '.join(changed)} after the plan. Schema changes are frozen "
            "during a move: make both regions alike and plan again."
        )
