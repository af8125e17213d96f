"""After the second person's word: a last clean comparison, a backup, no way back any more, and blue is cleared."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from compliance.actors import SYSTEM
from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Done, More, Outcome, Wait
from lifecycle.migration import backup, comparing, fencing, gates, movers, orders, routes, states, undoing
from lifecycle.migration.steps.common import forth, migration_of, soon
from lifecycle.models import Environment, Migration, Tenant
from lifecycle.participation.writing import CONFIRM_MS
from lifecycle.systems.base import Permanent

S = Migration.State
PASSES = 10
_HOLD_LOOK = 10.0
_CONFIRMED = (
    CONFIRM_MS / 1000 + 1
)  # a transaction under a lease ends within a second, its confirmation within the rest


@forth
def last_look(context: Context, migration: Migration) -> Outcome:
    """One system compared with green as the owner; what blue lacks is mended, until a pass is clean."""
    system = context.step.lane
    if system not in movers.of(migration):
        return Done()
    cursor: dict[str, Any] = dict(context.cursor or {"inner": None, "passes": 0, "found": 0})
    with movers.mover(migration, system) as mover:
        found, inner = comparing.one(mover, cursor["inner"], max(1.0, context.time_left() - 5))
        if found:
            mover.repair(found)
    cursor |= {"inner": inner, "found": cursor["found"] + len(found)}
    if inner is not None:
        return More(cursor, done=cursor["passes"], unit="passes")
    if not cursor["found"]:
        return Done({"passes": cursor["passes"] + 1})
    if cursor["passes"] + 1 >= PASSES:
        raise Permanent(
            f"{system} still differs after {PASSES} passes, so blue is not cleared. See `migration verify`."
        )
    return More(
        {"inner": None, "passes": cursor["passes"] + 1, "found": 0}, done=cursor["passes"] + 1, unit="passes"
    )


@forth
def back_up(context: Context, migration: Migration) -> Outcome:
    """The tenant's rows in an archive that was opened again and counted."""
    comparing.record(migration, {}, comparing.sizes(migration))
    return Done(backup.take(migration, context.heartbeat))


@forth
def hand_over(context: Context, migration: Migration) -> Outcome:
    """Everything written on blue is on green; the watchdog ends its watch with green as owner. Then there is no way back."""
    cursor: dict[str, Any] = dict(context.cursor or {})
    if held := fencing.holds(migration.tenant_id):
        return Wait(soon(_HOLD_LOOK), held[0])
    if not cursor.get("closed"):
        if why := gates.closed([gates.beat("watchdog")]):
            return Wait(soon(), why)
        if left := undoing.left_on(migration, "source"):
            return Wait(soon(), f"{left} changes made on blue have not arrived on green.")
        if migration.target_region not in set(routes.owners(migration).values()):
            raise Permanent("Green does not own the tenant's writes, so blue is not cleared.")
        for action in (undoing.TRAFFIC, undoing.GREEN_DATA):
            undoing.done(context.run, action)
        orders.close(migration, migration.target_region)
        context.cursor = cursor = {"closed": True}
    order = orders.find(migration)
    if order is not None and not orders.is_done(order):
        return Wait(soon(0.3), orders.waits_for(order), cursor)
    states.move(migration, S.BLUE_DECOMMISSIONED, actor=SYSTEM)
    return Done()


def drop(context: Context) -> Outcome:
    """Both streams go: from here on nothing done on blue can reach green.

    Under a safe soak green first acknowledges alone, and what still waits for blue's confirmation gets it.
    """
    migration = migration_of(context)
    if migration.soak == Migration.Soak.SAFE and not context.cursor:
        routes.answer_alone(migration)
        return Wait(
            soon(_CONFIRMED), "The last writes that wait for blue's confirmation get it.", {"alone": True}
        )
    undoing.drop_streams(migration)
    undoing.done(context.run, undoing.STREAMS)
    return Done()


def clear(context: Context) -> Outcome:
    """One system of blue is cleared, in fenced batches. Under a legal hold it waits, and goes on when the hold is lifted."""
    migration, system = migration_of(context), context.step.lane
    if system not in movers.of(migration):
        return Done()
    side = movers.side(migration.source, system)
    batches = int((context.cursor or {}).get("batches", 0))
    with movers.mover(migration, system) as mover:
        try:
            while not fencing.destroy(migration, system, lambda gate: mover.clean(side, gate)):
                batches += 1
                context.heartbeat()
                if context.time_left() <= 5:
                    return More({"batches": batches}, done=batches, unit="batches")
        except fencing.Held as held:
            return Wait(soon(_HOLD_LOOK), f"Blue is not cleared while a hold is in force. {held}")
    return Done({"batches": batches + 1})


def finish(context: Context) -> Outcome:
    """Routes say that nothing moves, marks go, green is the tenant's home; what blue keeps (logs, archives) stays listed."""
    migration = migration_of(context)
    routes.end(migration)
    undoing.done(context.run, undoing.ROUTES)
    with transaction.atomic():
        _swap(migration)
    undoing.unmake(migration)
    undoing.done(context.run, undoing.PROVISIONED)
    states.move(migration, S.COMPLETED, actor=SYSTEM)
    return Done()


def _swap(migration: Migration) -> None:
    target, source = movers.target_of(migration), migration.source
    Tenant.objects.filter(pk=migration.tenant_id).update(home_region=migration.target_region)
    Environment.objects.filter(pk=target.pk).update(role=Environment.Role.HOME)
    moved = set(movers.of(migration)) | {movers.APPLICATION}
    # Logs, archives and metrics stay where they were written: an erasure must still find them there.
    stays = {system: place for system, place in source.places.items() if system not in moved}
    Environment.objects.filter(pk=source.pk).update(
        role=Environment.Role.SOAKING_BLUE, places=stays, gone_at=None if stays else timezone.now()
    )
    # What an earlier move left in the region that is home again is part of the home now.
    left = Environment.objects.filter(
        tenant=migration.tenant_id,
        region=migration.target_region,
        role=Environment.Role.SOAKING_BLUE,
        gone_at=None,
    )
    for each in left.exclude(pk=target.pk):
        if set(each.places) <= set(target.places):
            Environment.objects.filter(pk=each.pk).update(gone_at=timezone.now())
