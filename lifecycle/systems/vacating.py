"""Who owns a tenant's writes, as every store asks: which way a move flows now, and whether a side may be emptied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lifecycle.systems.base import BatchOver, Permanent, Transient
from lifecycle.systems.ledger import Ledger, open_ledger
from lifecycle.systems.movable import Move, Side


class OpenBatch:
    """A batch of a minute, for callers without a fence. See `lifecycle.systems.base.Gate`."""

    def __init__(self) -> None:
        self._ends = datetime.now(UTC) + timedelta(seconds=60)

    @property
    def deadline(self) -> datetime:
        """When it is over."""
        return self._ends

    def check(self) -> None:
        """Raises BatchOver when it is over."""
        if self.remaining() <= 0:
            raise BatchOver

    def remaining(self) -> float:
        """Seconds left."""
        return max(0.0, (self._ends - datetime.now(UTC)).total_seconds())


def flowing(move: Move) -> Move:
    """The move as it flows now: from green to blue once green owns the writes, by green's database, else by blue's.

    A move without ledgers flows forth. Raises Transient where neither database answers.
    """
    for side in (move.target, move.source):
        ledger = open_ledger(side.place.get("ledger_dsn"), move.tenant)
        if ledger is None:
            continue
        try:
            return move.turned() if ledger.owner() == move.target.region else move
        except Transient:
            if side is move.source:
                raise
        finally:
            ledger.close()
    return move


def refuse(move: Move, side: Side, own: Ledger | None, other: Ledger | None, store: str) -> None:
    """Raises Permanent while the side owns the tenant, a stream of the move is left, or the other side lacks writes."""
    if side.region not in (move.source.region, move.target.region):
        raise Permanent("This side is no part of the move; nothing was removed.")
    if own is None or other is None:
        raise Permanent(
            "Nobody can tell who owns the tenant: name both regions' databases (ledger_dsn) in the settings, then clean."
        )
    if side.region in (own.owner(), other.owner()):
        raise Permanent(
            f"{side.region} owns the tenant's writes; nothing was removed. Move ownership away first."
        )
    if other.owner() is None:
        raise Permanent("The other side does not say that it owns the tenant's writes; nothing was removed.")
    left = sorted({*own.streams(move.id), *other.streams(move.id)})
    if left:
        raise Permanent(f"The move's streams are still there ({', '.join(left)}); drop them, then clean.")
    waiting = other.waiting(store, side.region)
    if waiting.keys:
        raise Permanent(
            f"{waiting.keys} things written here have not arrived on the other side; nothing was removed. Let the applier "
            "finish."
        )
