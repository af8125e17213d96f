"""Green of a move that went back is kept for its post-mortem, and goes when a person says so or its date passes."""

from __future__ import annotations

from django.db import transaction

from compliance.actors import SYSTEM
from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Done, Outcome, Wait
from lifecycle.migration import fencing, movers, undoing
from lifecycle.migration.states import note
from lifecycle.migration.steps.common import migration_of, soon


def clear(context: Context) -> Outcome:
    """One system of kept green."""
    migration, system = migration_of(context), context.step.lane
    if system not in movers.of(migration):
        return Done()
    side = movers.side(movers.target_of(migration), system)
    with movers.mover(migration, system) as mover:
        try:
            while not fencing.destroy(migration, system, lambda gate: mover.clean(side, gate)):
                context.heartbeat()
                if context.time_left() <= 5:
                    return Wait(soon(0), "Green is being cleared.")
        except fencing.Held as held:
            return Wait(soon(10), f"Kept green is not cleared while a hold is in force. {held}")
    return Done()


def unmake(context: Context) -> Outcome:
    """What was provisioned goes, and the environment with it."""
    migration = migration_of(context)
    undoing.unmake(migration)
    with transaction.atomic():
        note(migration, "migration.green_discarded", actor=SYSTEM)
    return Done()
