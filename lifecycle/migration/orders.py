"""Orders to the watchdog, which alone changes weights and owners. An order is a decision with a number; old ones don't count."""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction
from django.db.models import F

from lifecycle.migration import movers, states
from lifecycle.models import Environment, Migration, Order
from lifecycle.systems.base import Permanent


def find(migration: Migration) -> Order | None:
    """The migration's order as it is now."""
    return Order.objects.filter(migration=migration).first()


def begin(migration: Migration) -> Order:
    """The first order: everything on blue, nothing judged yet. The one that stands is returned."""
    found, made = Order.objects.get_or_create(
        migration=migration,
        defaults={
            "tenant_id": migration.tenant_id,
            "owner": migration.source_region,
            "settings": settings_of(migration),
        },
    )
    if made:
        _announce()
    return found


def forth(migration: Migration, **wanted: Any) -> Order:
    """A new decision on the way to green. Raises Permanent once the move is on its way back or has ended."""
    with transaction.atomic():
        row = states.locked(migration)
        if row.state in Migration.ENDED or is_going_back(row):
            raise Permanent(f"Move {row.pk} goes back to {row.source_region}; nothing more goes to green.")
        return _write(migration, **wanted)


def back(migration: Migration) -> Order | None:
    """All traffic and all writes to blue. Clears the latch: this is the decision that it waits for."""
    if find(migration) is None:
        return None
    return _write(migration, share=0, owner=migration.source_region, latched=False)


def close(migration: Migration, owner: str) -> Order | None:
    """The move is over and `owner` has the tenant: nothing is asserted any more."""
    found = find(migration)
    if found is None or (found.closed and found.owner == owner):
        return found
    share = 100 if owner == migration.target_region else 0
    return _write(migration, share=share, owner=owner, latched=False, closed=True, watched=False)


def is_done(order: Order) -> bool:
    """Whether the watchdog has brought about the newest decision."""
    return order.done_epoch >= order.epoch


def waits_for(order: Order) -> str:
    """Why it is not done yet, as far as the watchdog said."""
    said = order.outcome or {}
    if said.get("epoch") == order.epoch and said.get("why"):
        return str(said["why"])
    return "The watchdog has not carried out the order yet."


def is_going_back(migration: Migration) -> bool:
    """Whether somebody decided, or the watchdog did, that this move goes back."""
    return bool(migration.report.get("why"))


def settings_of(migration: Migration) -> dict[str, Any]:
    """What the watchdog must know: regions, gates, and places as references, never a secret."""
    name = movers.move_id(migration)
    return {
        "blue": migration.source_region,
        "green": migration.target_region,
        "soak": migration.soak,
        "lease": True,
        "gates": dict(migration.settings.get("gates", {})),
        "changes_behind": int(migration.settings.get("changes_behind", 50)),
        "streams": {"forth": f"mv_{name}_fwd", "back": f"mv_{name}_rev"},
        "blue_places": _references(migration.source),
        "green_places": _references(movers.target_of(migration)),
    }


def _references(environment: Environment) -> dict[str, str]:
    found = {"dsn": movers.mover_reference(environment)}
    url = environment.places.get(movers.APPLICATION, {}).get("url")
    return {**found, "app": url} if url else found


def _write(migration: Migration, **wanted: Any) -> Order:
    Order.objects.filter(migration=migration).update(epoch=F("epoch") + 1, **wanted)
    _announce()
    return Order.objects.get(migration=migration)


def _announce() -> None:
    """Wakes the watchdog once the transaction commits; it looks by itself too."""
    with connection.cursor() as cursor:
        cursor.execute("NOTIFY lifecycle_order")
