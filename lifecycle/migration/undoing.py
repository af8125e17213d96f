"""What a move made and how it is unmade, last first: traffic, streams, green's data, routes, what was provisioned.

Each is committed as an undo row before it is made, may be called again after a crash anywhere, and raises Transient
while the outside isn't ready. A move that goes back for a post-mortem keeps green's data until `discard`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.utils import timezone

from lifecycle.engine.workflow import register_undo
from lifecycle.migration import fencing, movers, orders, provisioning, routes, turning
from lifecycle.models import Environment, Migration, Run, Undo
from lifecycle.systems.base import Transient
from lifecycle.systems.ledger import open_ledger

TRAFFIC, STREAMS, GREEN_DATA, ROUTES, PROVISIONED = (
    "migration.traffic",
    "migration.streams",
    "migration.green_data",
    "migration.routes",
    "migration.provisioned",
)
PATIENCE = 20.0  # seconds that an undo waits for somebody else before it is tried again later
_STORES = ("s3", "pinecone")


def traffic(run: Run, _arguments: Any) -> None:
    """All traffic and writes are on blue, what green wrote has arrived there, and the order is closed."""
    migration = _migration(run)
    order = orders.back(migration) if not _is_back(migration) else orders.find(migration)
    if order is None:
        return
    if not order.closed:
        _await_order(migration)
        turning.arrived(migration)
        _await(
            lambda: _left_on(migration, "target"), "Changes made on green have not all arrived on blue: {}."
        )
        orders.close(migration, migration.source_region)
    _await_order(migration)


def streams(run: Run, _arguments: Any) -> None:
    """Publications, slots, subscriptions and our origin are gone on both sides."""
    drop_streams(_migration(run))


def green_data(run: Run, _arguments: Any) -> None:
    """Green's copy is removed, unless it is kept for the post-mortem."""
    migration = _migration(run)
    if not _kept(migration):
        clear(migration, "target")


def routes_(run: Run, _arguments: Any) -> None:
    """Both databases say that nothing moves any more; their owners stay."""
    routes.end(_migration(run))


def provisioned(run: Run, _arguments: Any) -> None:
    """What the provisioner made is unmade, and its state with it, unless green is kept."""
    migration = _migration(run)
    if not _kept(migration):
        unmake(migration)


def drop_streams(migration: Migration) -> None:
    """Both streams of the move go."""
    if "postgresql" in movers.of(migration):
        with movers.mover(migration, "postgresql") as mover:
            mover.drop()


def clear(migration: Migration, which: str) -> None:
    """Removes one side's copy, system by system, in fenced batches. Raises Transient under a hold or past its patience."""
    for system in rows_last(movers.of(migration)):
        ends = time.monotonic() + PATIENCE
        while not clear_once(migration, which, system):
            if time.monotonic() > ends:
                raise Transient(f"Clearing {system} takes longer; it goes on.")


def rows_last(systems: list[str]) -> list[str]:
    """The order of clearing: the other stores read the outbox, which goes with the rows."""
    return sorted(systems, key=lambda name: name == "postgresql")


def clear_once(migration: Migration, which: str, system: str) -> bool:
    """One fenced batch of clearing; True once the system is clear. Raises Transient under a hold."""
    side = movers.side(movers.environment_of(migration, which), system)
    try:
        with movers.mover(migration, system) as mover:
            return fencing.destroy(migration, system, lambda gate: mover.clean(side, gate))
    except fencing.Held as held:
        raise Transient(str(held)) from None


def unmake(migration: Migration) -> None:
    """Destroys what was provisioned; green's environment is gone then, where it does not serve."""
    wanted = provisioning.wanted(migration)
    secrets = provisioning.secrets(wanted.places)
    tool = provisioning.tool(str(migration.plan.get("provision", {}).get("tool", "")))
    ends = time.monotonic() + PATIENCE
    while not (standing := tool.destroy(wanted, secrets)).finished:
        if time.monotonic() > ends:
            raise Transient("What was provisioned is still being destroyed.")
        time.sleep(0.2)
    if standing.error:
        raise Transient(standing.error)
    Environment.objects.filter(pk=migration.target_id).exclude(role=Environment.Role.HOME).update(
        gone_at=timezone.now()
    )


def done(run: Run, action: str) -> None:
    """The undo of this name is not to be carried out any more: what it would take back is what the move was for."""
    Undo.objects.filter(run=run, action=action, undone_at=None).update(undone_at=timezone.now())


def left_on(migration: Migration, which: str) -> int:
    """Changes of objects and vectors made on one side that the other has not applied."""
    written = movers.environment_of(migration, which).region
    other = movers.environment_of(migration, "source" if which == "target" else "target")
    ledger = open_ledger(movers.mover_dsn(other), migration.tenant_id)
    if ledger is None:
        return 0
    try:
        return sum(ledger.waiting(store, written).keys for store in _STORES if store in movers.of(migration))
    finally:
        ledger.close()


def _left_on(migration: Migration, which: str) -> str:
    count = left_on(migration, which)
    return f"{count} to go" if count else ""


def _await_order(migration: Migration) -> None:
    def missing() -> str:
        order = orders.find(migration)
        return "" if order is None or orders.is_done(order) else orders.waits_for(order)

    _await(missing, "{}")


def _await(missing: Callable[[], str], sentence: str) -> None:
    ends = time.monotonic() + PATIENCE
    while words := missing():
        if time.monotonic() > ends:
            raise Transient(sentence.format(words))
        time.sleep(0.05)


def _is_back(migration: Migration) -> bool:
    """The order says already that blue has everything."""
    order = orders.find(migration)
    return order is None or (
        order.owner == migration.source_region and order.share == 0 and not order.latched
    )


def _kept(migration: Migration) -> bool:
    return bool(migration.report.get("keep"))


def _migration(run: Run) -> Migration:
    return Migration.objects.select_related("source", "target", "tenant").get(pk=run.subject)


register_undo(TRAFFIC, traffic)
register_undo(STREAMS, streams)
register_undo(GREEN_DATA, green_data)
register_undo(ROUTES, routes_)
register_undo(PROVISIONED, provisioned)
