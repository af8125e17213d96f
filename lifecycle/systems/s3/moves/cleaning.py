"""Removing a tenant's objects from a side that was given up, and refusing to while anything still leans on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from lifecycle.systems.base import BatchOver, Gate, Item, Permanent, Transient
from lifecycle.systems.ledger import Ledger
from lifecycle.systems.movable import Move
from lifecycle.systems.movable import Side as MoveSide
from lifecycle.systems.s3.deleting import carry_out, sends
from lifecycle.systems.s3.kinds import item_key
from lifecycle.systems.s3.layout import Root
from lifecycle.systems.s3.listing import uploads, versions
from lifecycle.systems.s3.wire import Wire

_ROUNDS = 10_000
_PASSES = 3  # listings that must be empty in a row: one alone is not trusted


class _Open:
    """A batch of its own, a minute long, for callers without a fence."""

    def __init__(self) -> None:
        self._ends = datetime.now(UTC) + timedelta(seconds=60)

    @property
    def deadline(self) -> datetime:
        return self._ends

    def check(self) -> None:
        if self.remaining() <= 0:
            raise BatchOver

    def remaining(self) -> float:
        return max(0.0, (self._ends - datetime.now(UTC)).total_seconds())


def refuse(move: Move, side: MoveSide, own: Ledger | None, other: Ledger | None, store: str) -> None:
    """Raises Permanent while the side owns the tenant, a stream of the move is left, or the other side lacks writes."""
    if side.region not in (move.source.region, move.target.region):
        raise Permanent("This side is no part of the move; nothing was removed.")
    if own is None or other is None:
        raise Permanent(
            "Nobody can tell who owns the tenant: name both regions' databases (ledger_dsn) in the settings, then clean."
        )
    for ledger in (own, other):
        if ledger.owner() == side.region:
            raise Permanent(
                f"{side.region} owns the tenant's writes; nothing was removed. Move ownership away first."
            )
    if other.owner() is None:
        raise Permanent("The other side does not say that it owns the tenant's writes; nothing was removed.")
    left = [*own.streams(move.id), *other.streams(move.id)]
    if left:
        raise Permanent(
            f"The move's streams are still there ({', '.join(sorted(set(left)))}); drop them first."
        )
    waiting = other.waiting(store, side.region)
    if waiting.keys:
        raise Permanent(
            f"{waiting.keys} objects or vectors written here have not arrived on the other side; nothing was removed. "
            "Let the applier finish."
        )


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
        batch = gate or _Open()
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
