"""Cutover by steps, the flip of ownership, and the soak after it. Nothing advances unless every gate is open."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from compliance.actors import SYSTEM
from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Done, More, Outcome, Wait
from lifecycle.migration import gates, late, movers, orders, policy, states, turning
from lifecycle.migration.steps.common import forth, held_too_long, look, same_definitions, soon
from lifecycle.models import Migration
from lifecycle.systems.base import Transient

S = Migration.State
_FAR = timedelta(days=3650)


def step(context: Context) -> Outcome:
    """One step of the cutover; its share is in the step's name (`cutover_25`)."""
    return _share(context)


@forth
def _share(context: Context, migration: Migration) -> Outcome:
    share = int(context.step.name.rpartition("_")[2])
    cursor: dict[str, Any] = dict(context.cursor or {})
    if "epoch" not in cursor:
        return _begin(context, migration, cursor, share)
    order = orders.find(migration)
    if order is None or not orders.is_done(order):
        why = orders.waits_for(order) if order else "There is no order."
        return _hold(context, migration, cursor, why)
    since = datetime.fromisoformat(cursor["since"]) if "since" in cursor else order.done_at or timezone.now()
    cursor["since"] = since.isoformat()
    ends = since + timedelta(seconds=float(migration.settings["step_seconds"]))
    if timezone.now() < ends and migration.settings.get("early") != share:
        context.progress(
            int((timezone.now() - since).total_seconds()), int((ends - since).total_seconds()), "seconds"
        )
        return Wait(
            min(ends, soon(look())),
            f"{share} % of users are on green; soaking until {ends:%H:%M:%S}.",
            cursor,
        )
    if why := gates.closed(gates.read(migration)):
        return _hold(context, migration, cursor, why)
    return Done({"share": share, "since": cursor["since"]})


def _begin(context: Context, migration: Migration, cursor: dict[str, Any], share: int) -> Outcome:
    """The order for this share, once every gate is open."""
    if (
        wait := policy.window_wait(migration, timezone.now())
    ) is not None and migration.state != S.CUTOVER_STARTED:
        return Wait(min(wait[0], timezone.now() + _FAR), wait[1])
    if why := gates.closed(gates.read(migration)):
        return _hold(context, migration, cursor, why)
    states.move(migration, S.CUTOVER_STARTED, actor=SYSTEM)
    order = orders.forth(migration, share=share)
    return More({"epoch": order.epoch}, done=0, total=int(migration.settings["step_seconds"]), unit="seconds")


def _hold(context: Context, migration: Migration, cursor: dict[str, Any], why: str) -> Outcome:
    """Waits for what is missing; when it is missing for too long, everything goes back: silence is never health."""
    limit = float(migration.settings["hold_seconds"])
    if held_too_long(context, cursor, limit):
        turning.go_back(migration, why=f"Held for more than {limit:g} s: {why}")
        return Wait(soon(5), "The move goes back to blue.", cursor)
    return Wait(soon(look()), why, cursor)


@forth
def flip(context: Context, migration: Migration) -> Outcome:
    """Green owns the writes. What changed is compared; then the watchdog fences, drains and flips, and is waited for."""
    cursor: dict[str, Any] = dict(context.cursor or {})
    if "epoch" not in cursor:
        if why := gates.closed([gates.beat("watchdog"), *gates.watched(migration)]):
            return _hold(context, migration, cursor, why)
        same_definitions(migration)
        if "postgresql" in movers.of(migration):
            with movers.mover(migration, "postgresql") as mover:
                mover.sync_objects(5.0)
        looked = late.look(migration, cursor, max(1.0, context.time_left() - 10))
        if looked.waits:
            # Its turn comes: no reason to go back, however long others take.
            looked.cursor.pop("held_since", None)
            return Wait(soon(look()), looked.waits, looked.cursor)
        if looked.found:
            why = f"{len(looked.found)} keys differed just before the flip; they were mended and are looked at again."
            return _hold(context, migration, looked.cursor, why)
        if not looked.done:
            return More(looked.cursor)
        written = orders.forth(migration, owner=migration.target_region)
        return More({"epoch": written.epoch})
    order = orders.find(migration)
    if order is None or not orders.is_done(order):
        return _hold(context, migration, cursor, orders.waits_for(order) if order else "There is no order.")
    late.end(migration)
    states.move(migration, S.CUTOVER_COMPLETE, actor=SYSTEM, flipped_at=order.done_at or timezone.now())
    said = order.outcome or {}
    return Done({name: said[name] for name in ("pause_ms", "drained", "route_epoch") if name in said})


@forth
def soak(context: Context, migration: Migration) -> Outcome:
    """Green serves and owns; blue follows, ready to take it back."""
    began = migration.flipped_at or timezone.now()
    cursor: dict[str, Any] = dict(context.cursor or {})
    if not cursor.get("rests") and "postgresql" in movers.of(migration):
        # What stays for now goes with the move's other streams: no reason to go back.
        with suppress(Transient), movers.mover(migration, "postgresql") as mover:
            cursor["rests"] = mover.end_forth()
    seconds = float(migration.settings["soak_seconds"])
    ends = began + timedelta(seconds=seconds)
    if timezone.now() < ends and migration.settings.get("early") != "soak":
        context.progress(int((timezone.now() - began).total_seconds()), int(seconds), "seconds")
        return Wait(min(ends, soon(2 * look())), f"Green soaks until {ends:%Y-%m-%d %H:%M:%S}.", cursor)
    if why := gates.closed(gates.read(migration)):
        return _hold(context, migration, cursor, why)
    return Done({"seconds": round((timezone.now() - began).total_seconds(), 1)})


@forth
def approval(_context: Context, migration: Migration) -> Outcome:
    """Waits for the second person. It looks by itself, so that a trip of the watchdog is followed here too."""
    if migration.completed_by:
        return Done({"by": migration.completed_by})
    return Wait(soon(3 * look()), "Soaked. A second person completes the move: `migration complete`.")
