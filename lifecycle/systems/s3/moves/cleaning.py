"""Removing a tenant's objects from a side that was given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lifecycle.systems.base import BatchOver, Gate, Item, Permanent, Transient
from lifecycle.systems.s3.deleting import carry_out, sends
from lifecycle.systems.s3.kinds import item_key
from lifecycle.systems.s3.layout import Root
from lifecycle.systems.s3.listing import uploads, versions
from lifecycle.systems.s3.wire import Wire
from lifecycle.systems.vacating import OpenBatch

_ROUNDS = 10_000
_PASSES = 3  # listings that must be empty in a row: one alone is not trusted


def clean(place: Mapping[str, str], roots: Sequence[Root], gate: Gate | None) -> None:
    """Removes all of the tenant's entries, page by page, until listings stay empty. Raises Permanent for locked ones."""
    wire = Wire(place, place["key"], place["secret"])
    try:
        for root in roots:
            empty = 0
            for _ in range(_ROUNDS):
                items = _items(wire, root)
                if items:
                    _remove(wire, items, gate)
                empty = 0 if items else empty + 1
                if empty >= _PASSES:
                    break
            else:
                raise Transient(
                    "Objects of the tenant keep coming while they are removed; find who writes them."
                )
    finally:
        wire.close()


def _items(wire: Wire, root: Root) -> list[Item]:
    entries = [*versions(wire, root.prefix, None).entries, *uploads(wire, root.prefix, None).entries]
    return [Item(each.kind, item_key(each.key, each.mark)) for each in entries if root.matches(each.key)]


def _remove(wire: Wire, items: Sequence[Item], gate: Gate | None) -> None:
    for send in sends(items, 1000):
        batch = gate or OpenBatch()
        batch.check()
        outcome = carry_out(wire, send, batch)
        if outcome.error is not None:
            raise outcome.error
        if outcome.locked:
            raise Permanent(
                f"{len(outcome.locked)} object versions are under an S3 lock and can't be removed now: "
                f"{outcome.locked[0].why} The rest of the tenant's objects may be gone already."
            )
        if outcome.busy:
            if gate is not None:
                raise BatchOver
            raise Transient("The object storage asks for fewer requests; call again later.")
