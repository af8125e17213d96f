"""Brings a tenant's ownership to where it shall be, from wherever a crash left it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg2

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.postgresql.streams.sequences import raise_sequences
from lifecycle.watchdog import flip
from lifecycle.watchdog.flip import Change, Limits, Side
from lifecycle.watchdog.lines import Line
from lifecycle.watchdog.regions import Region
from lifecycle.watchdog.state import Move

log = logging.getLogger("lifecycle.watchdog")

BACK = Limits(writer=1.0, fence=2.0, drain=2.0, answer=0.5)
FORTH = Limits(writer=1.0, fence=3.0, drain=1.0, answer=1.0)
_SILENT = 2  # so many looks in a row without an answer: nobody waits for another one
_SEQUENCES_MARGIN = 10_000  # more than is written between here and the fence
_ROUTE = "SELECT owner, epoch, isfinite(lease_until) FROM lifecycle.route WHERE tenant_id = %s"
_FOR_GOOD = """
UPDATE lifecycle.route SET lease_until = 'infinity' WHERE tenant_id = %s
  AND owner = (SELECT region FROM lifecycle.here) RETURNING 1
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What one region's route says."""

    owner: str
    epoch: int
    leased: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """The tenant is where it shall be, or why not yet. `flip`: what was done. Not `told`: the other side doesn't answer,
    and must hear who owns the tenant when it does."""

    owner: str
    why: str = ""
    flip: flip.Flip | None = None
    told: bool = True


class Hand:
    """Works on one move at a time, in any thread. `save` makes the move's record durable."""

    def __init__(self, move: Move, blue: Region, green: Region, save: Callable[[], None]) -> None:
        self._move, self._save = move, save
        self._regions = {blue.name: blue, green.name: green}
        self._lines = {name: Line(each.dsn, name="watchdog flip") for name, each in self._regions.items()}
        order = move.order
        self._blue, self._green, self._tenant = order.blue, order.green, order.tenant

    def settle(self, owner: str, *, blocked: Callable[[], str] = lambda: "") -> Settled:
        """Makes `owner` the one owner. `blocked` says why a flip forth must wait, if it must."""
        try:
            return self._settle(owner, blocked)
        except (Transient, Permanent) as failure:
            return Settled(self._move.owner, str(failure))
        except psycopg2.Error as failure:
            log.error("A region's database refused a statement of the flip (%s).", failure.pgcode)
            return Settled(self._move.owner, f"A region's database refused a statement ({failure.pgcode}).")
        finally:
            for line in self._lines.values():
                line.close()

    def close_for_good(self, owner: str) -> Settled:
        """The move ends: its owner needs no lease any more."""
        settled = self.settle(owner)
        if settled.why:
            return settled
        try:
            self._regions[owner].leases.stop(self._tenant)
            self._lines[owner](_FOR_GOOD, [self._tenant])
            self._regions[owner].leases.forget(self._tenant)
        except (Transient, psycopg2.Error) as failure:
            return Settled(owner, f"The lease could not be made infinite ({type(failure).__name__}).")
        finally:
            self._lines[owner].close()
        return settled

    def _settle(self, owner: str, blocked: Callable[[], str]) -> Settled:
        other = self._blue if owner == self._green else self._green
        rows = {name: self._row(name) for name in (self._blue, self._green)}
        mine, theirs = rows[owner], rows[other]
        if mine is None and theirs is None:
            return Settled(self._move.owner, "No region's database answers with a route of this tenant.")
        known = max([self._move.epoch, *(row.epoch for row in rows.values() if row)])
        if mine and mine.owner == owner and (theirs is None or theirs.owner == owner):
            return self._stays(owner, other, mine, theirs)
        if owner == self._green:
            why = blocked() if self._move.bound != owner or self._move.epoch != known else ""
            if why:
                return Settled(self._move.owner, why)
        epoch = known if self._move.bound == owner and self._move.epoch == known else known + 1
        return self._flip(owner, other, epoch)

    def _stays(self, owner: str, other: str, mine: Row, theirs: Row | None) -> Settled:
        """The rows agree; the one that was away is told, and a lease is renewed again."""
        if theirs is not None and theirs.epoch < mine.epoch:
            flip.demote(self._side(other), self._tenant, owner, mine.epoch)
        if mine.leased:
            self._regions[owner].leases.adopt(self._tenant, mine.epoch)
        self._note(owner, mine.epoch, owner)
        return Settled(owner, told=theirs is not None)

    def _flip(self, owner: str, other: str, epoch: int) -> Settled:
        forth = owner == self._green
        self._raise_sequences(owner, forth)
        self._note(self._move.owner, epoch, owner)
        began = time.monotonic()
        try:
            done = flip.run(self._change(owner, other, epoch, FORTH if forth else BACK))
        except (Transient, psycopg2.Error) as failure:
            if not forth:
                raise
            log.warning("%s: a flip forth failed (%s); it goes back.", self._move.order.migration, failure)
            self._note(self._move.owner, epoch + 1, other)
            flip.run(self._change(other, owner, epoch + 1, BACK))
            self._note(other, epoch + 1, other)
            return Settled(other, f"The flip was given up and undone: {failure}")
        self._note(owner, epoch, owner)
        log.warning(
            "%s: %s owns the writes (epoch %d, %.0f ms without an owner, %.1f s in all%s).",
            self._move.order.migration,
            owner,
            epoch,
            done.pause_ms,
            time.monotonic() - began,
            "" if done.drained else ", taken over without the rest",
        )
        return Settled(owner, flip=done, told=not done.taken_over)

    def _raise_sequences(self, owner: str, forth: bool) -> None:
        """Before the fence, so that it costs no pause."""
        try:
            raise_sequences(None, self._regions[owner].dsn, _SEQUENCES_MARGIN)
        except (Transient, Permanent, psycopg2.Error) as failure:
            if forth:
                raise
            # A number given twice is refused by the table; writes without an owner would be refused all.
            log.error(
                "%s: sequences were not raised (%s).", self._move.order.migration, type(failure).__name__
            )

    def _note(self, owner: str, epoch: int, bound: str) -> None:
        self._move.owner, self._move.epoch, self._move.bound = owner, epoch, bound
        self._save()

    def _row(self, name: str) -> Row | None:
        if self._regions[name].failures >= _SILENT:
            return None
        try:
            rows = self._lines[name](_ROUTE, [self._tenant], seconds=0.5)
        except Transient:
            return None
        return Row(*rows[0]) if rows else None

    def _side(self, name: str) -> Side:
        return Side(name, self._lines[name], self._regions[name].leases)

    def _change(self, owner: str, other: str, epoch: int, limits: Limits) -> Change:
        forth = owner == self._green
        settings: dict[str, Any] = dict(self._move.order.settings)
        return Change(
            tenant=self._tenant,
            old=self._side(other),
            new=self._side(owner),
            epoch=epoch,
            lease=forth and bool(settings.get("lease", True)),
            stream=stream_names(self._move)["forth" if forth else "back"],
            lossy=not forth,
            limits=limits,
            silent=self._regions[other].failures >= _SILENT,
        )


def stream_names(move: Move) -> dict[str, str]:
    """Names of the subscriptions: `forth` at green, `back` at blue."""
    named = dict(move.order.settings.get("streams", {}))
    name = re.sub(r"[^a-z0-9_]", "_", move.order.migration.lower())
    return {"forth": named.get("forth", f"mv_{name}_fwd"), "back": named.get("back", f"mv_{name}_rev")}
