"""Before anything is copied: green is made, a place in the queue is taken, both databases know that the tenant moves."""

from __future__ import annotations

from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Done, More, Outcome, Wait
from lifecycle.migration import locks, movers, orders, provisioning, routes, undoing
from lifecycle.migration.steps.common import forth, same_definitions, soon
from lifecycle.models import Migration
from lifecycle.systems.base import Permanent

S = Migration.State


@forth
def provision(context: Context, migration: Migration) -> Outcome:
    """Makes green as approved, and takes its outputs as green's environment."""
    proposal = migration.plan["provision"]
    if why := locks.take_provisioning(migration):
        return Wait(soon(max(2.0, locks.waiting() / 2)), why)
    context.undo(undoing.PROVISIONED)
    wanted = provisioning.wanted(migration)
    secrets = provisioning.secrets(wanted.places)
    standing = provisioning.tool(proposal["tool"]).make(wanted, proposal["digest"], secrets)
    if standing.error:
        raise Permanent(standing.error)
    context.progress(standing.done, standing.total, "resources")
    if not standing.finished or standing.places is None:
        return Wait(soon(0.5), "Green is being made.")
    made = provisioning.green(migration, standing.places)
    Migration.objects.filter(pk=migration.pk).update(target=made)
    locks.call_next_provisioning()
    return Done({"environment": made.pk})


@forth
def queue(_context: Context, migration: Migration) -> Outcome:
    """Waits for a place among those that copy, and for room for its streams in both databases."""
    why = locks.turn(migration)
    if not why and "postgresql" in movers.of(migration):
        with movers.mover(migration, "postgresql") as mover:
            why = mover.room()
    why = why or locks.take_turn(migration)
    return Wait(soon(max(5.0, locks.waiting() / 2)), why) if why else Done()


@forth
def prepare(context: Context, migration: Migration) -> Outcome:
    """Definitions alike, routes in both databases, the first order. Each is undone from its own row."""
    same_definitions(migration)
    context.undo(undoing.ROUTES)
    routes.begin(migration)
    context.undo(undoing.GREEN_DATA)
    context.undo(undoing.STREAMS)
    context.undo(undoing.TRAFFIC)
    orders.begin(migration)
    return Done()


def copy(context: Context) -> Outcome:
    """Copies one system's part, a slice at a time."""
    return _copy(context)


@forth
def _copy(context: Context, migration: Migration) -> Outcome:
    system = context.step.lane
    if system not in movers.of(migration):
        return Done({"moved": False})
    moved = int((context.cursor or {}).get("bytes", 0))
    with movers.mover(migration, system) as mover:
        progress = mover.copy((context.cursor or {}).get("inner"), max(1.0, context.time_left() - 2))
    moved = max(moved, progress.moved_bytes)
    if progress.cursor is None:
        context.progress(progress.done, progress.total, progress.unit)
        return Done({"items": progress.done, "bytes": moved, "unit": progress.unit, "note": progress.note})
    return More({"inner": progress.cursor, "bytes": moved}, progress.done, progress.total, progress.unit)
