"""Dual write, then comparing and mending until one pass is clean, then the way back, before any user is moved."""

from __future__ import annotations

from compliance.actors import SYSTEM
from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Done, More, Outcome, Wait
from lifecycle.migration import comparing, gates, late, locks, movers, orders, routes, states, undoing
from lifecycle.migration.steps.common import forth, same_definitions, soon
from lifecycle.models import Migration
from lifecycle.systems.base import Permanent

S = Migration.State
PASSES = 10
_STORES = ("s3", "pinecone")


@forth
def dual_write(_context: Context, migration: Migration) -> Outcome:
    """The applier lives, and what it was behind has become little."""
    alive = gates.beat("applier")
    if any(store in movers.of(migration) for store in _STORES) and not alive.ok:
        return Wait(soon(), alive.why)
    behind = undoing.left_on(migration, "source")
    limit = int(migration.settings.get("changes_behind", 50))
    if behind > limit:
        return Wait(soon(), f"{behind} changed objects and vectors are still to be carried to green.")
    states.move(migration, S.DUAL_WRITE_ENABLED, actor=SYSTEM)
    locks.call_next(migration)
    return Done({"behind": behind})


@forth
def sync(context: Context, migration: Migration) -> Outcome:
    """One system: passes of comparing, each followed by mending, until one finds nothing."""
    system = context.step.lane
    if migration.state == S.DUAL_WRITE_ENABLED:
        states.move(migration, S.INCREMENTAL_SYNC, actor=SYSTEM)
    if system not in movers.of(migration):
        return Done({"kinds": {}})
    cursor = context.cursor or {"inner": None, "passes": 0, "found": 0, "mended": 0, "kinds": {}}
    if system in _STORES and cursor["inner"] is None:
        cursor |= {"since": late.top(migration, system)}
    with movers.mover(migration, system) as mover:
        found, inner = comparing.one(mover, cursor["inner"], max(1.0, context.time_left() - 5))
        mended = mover.repair(found) if found else 0
    kinds = comparing.kinds(found)
    cursor = cursor | {
        "inner": inner,
        "found": cursor["found"] + len(found),
        "mended": cursor["mended"] + mended,
        "kinds": {
            name: cursor["kinds"].get(name, 0) + kinds.get(name, 0) for name in {*cursor["kinds"], *kinds}
        },
    }
    if inner is None:
        if not cursor["found"]:
            return Done(
                {
                    "passes": cursor["passes"] + 1,
                    "mended": cursor["mended"],
                    "kinds": cursor["kinds"],
                    "since": cursor.get("since", 0),
                }
            )
        if cursor["passes"] + 1 >= PASSES:
            raise Permanent(
                f"{PASSES} passes over {system} each found differences that came again. See `migration verify`."
            )
        cursor |= {"passes": cursor["passes"] + 1, "found": 0}
    return More(cursor, done=cursor["passes"], total=None, unit="passes")


@forth
def way_back(_context: Context, migration: Migration) -> Outcome:
    """The reverse stream stands and a write on green arrives on blue, before any user goes to green."""
    same_definitions(migration)
    # Every sync step before this one ended with a clean pass.
    comparing.record(migration, {}, comparing.sizes(migration))
    if "postgresql" not in movers.of(migration):
        return Done({"seconds": 0.0})
    with movers.mover(migration, "postgresql") as mover:
        mover.prepare_back()
        probe = mover.preflight_back(5000)
    if not probe.ready:
        return Wait(soon(2), f"The way back is not ready. {probe.why}")
    routes.soak_safely(migration)
    orders.forth(migration, watched=True)
    return Done({"seconds": round(probe.seconds, 4)})
