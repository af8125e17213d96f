"""Moves a tenant's rows: copied by the subscription's own workers, followed both ways, ready to go back at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Gate, Page, Permanent, Transient
from lifecycle.systems.movable import Difference, Finding, Lag, Move, Progress, Side
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams import (
    changed,
    cleaning,
    compare,
    fingerprint,
    objects,
    preflight,
    repair,
    sequences,
    tables,
    throttled,
)
from lifecycle.systems.postgresql.streams.database import Database
from lifecycle.systems.postgresql.streams.flow import FORWARD, REVERSE, Flow, stream_name
from lifecycle.systems.postgresql.streams.tables import Moved

_POLL = 0.1
_COPIED = ("f", "s", "r")


@dataclass(frozen=True, slots=True)
class WayBack:
    """What the pre-flight of the way back measured: a write on the target was seen on the source after `seconds`."""

    ready: bool
    seconds: float
    why: str = ""


class PostgresqlMover:
    """One tenant's rows. `move.source` and `move.target` are as the move was planned, also after the flip.

    Places need `mover_dsn`; `rows_per_second` on the source's limits the copy.
    """

    name = "postgresql"

    def __init__(self, move: Move, datamap: DataMap) -> None:
        self.move, self.datamap = move, datamap
        self.source, self.target = Database(dsn_of(move.source)), Database(dsn_of(move.target))
        self.forward = Flow(stream_name(move.id, FORWARD), move.tenant, self.source, self.target)
        self.reverse = Flow(stream_name(move.id, REVERSE), move.tenant, self.target, self.source)

    # Planning

    def plan(self) -> Sequence[Finding]:
        """What stands in the way; reads only."""
        return preflight.findings(self.move, self.source, self.target, self.datamap)

    def size(self) -> Mapping[str, int]:
        """Rows of the tenant, counted, and their bytes, estimated from the tables' sizes."""
        counted = count(self.source, self._tables(), self.move.tenant)
        return {
            "items": sum(rows for rows, _ in counted.values()),
            "bytes": sum(size for _, size in counted.values()),
        }

    def room(self) -> str:
        """Why there is no room for this move's streams now; '' where there is."""
        return preflight.room(self.move, self.source, self.target)

    def fingerprints(self) -> Mapping[str, str]:
        """A digest of the moved tables' definitions by region: compared at each stage, since DDL is not replicated."""
        return {
            self.move.source.region: fingerprint.digest(self.source, self.datamap),
            self.move.target.region: fingerprint.digest(self.target, self.datamap),
        }

    # Copying

    def copy(self, cursor: Any, seconds: float) -> Progress:
        """Makes the stream forth, and waits for its copy for at most `seconds`. Each part may exist already."""
        moved, until = self._tables(), time.monotonic() + seconds
        state = cursor or self._begin(moved)
        limit = int(self.move.source.place.get("rows_per_second") or 0)
        self.forward.publish(moved)
        if limit and not self.forward.subscribed():
            progress = throttled.copy(self.move, self.forward, moved, limit, until, state)
            if progress.cursor is not None:
                return progress
        self.forward.keep()
        self.forward.subscribe(copy=not limit)
        while True:
            progress = self._progress(state)
            if progress.cursor is None or time.monotonic() >= until:
                break
            time.sleep(_POLL)
        if progress.cursor is None:
            self.sync_objects(max(1.0, until - time.monotonic()))
            self._freezes()
            self._views(self.target)
        return progress

    def _begin(self, moved: Sequence[Moved]) -> dict[str, Any]:
        """Before the first copy: leftovers of an earlier move's bookkeeping go, the totals are counted."""
        if self.forward.slot() is None and self.forward.subscribed() is None:
            cleaning.forget_bookkeeping(self.target, self.move)
            for name in ("probe", "large_object"):
                self.source.rows(f"DELETE FROM lifecycle.{name} WHERE tenant_id = %s", [self.move.tenant])
        totals = count(self.source, moved, self.move.tenant)
        return {"totals": {name: list(pair) for name, pair in totals.items()}}

    def _progress(self, state: Mapping[str, Any]) -> Progress:
        states, running = self.forward.states(), self.forward.copying()
        done = size = total = 0
        for name, (rows, expected) in state["totals"].items():
            total += rows
            if states.get(name) in _COPIED:
                done, size = done + rows, size + expected
            elif name in running:
                done, size = done + min(rows, running[name][0]), size + running[name][1]
        finished = bool(states) and all(each == "r" for each in states.values())
        waiting = sum(each != "r" for each in states.values())
        note = "" if finished else f"{waiting} of {len(states)} tables are being copied or catch up"
        return Progress(
            None if finished else dict(state), total if finished else done, total, "rows", size, note
        )

    def sync_objects(self, seconds: float) -> int:
        """Large objects, which no stream carries: content of the owner's to the follower. Returns how many are left."""
        flow = self.current()
        return objects.sync(flow.source, flow.target, self._tables(), self.move, seconds)

    def _freezes(self) -> None:
        """Who is frozen on the source stays so on the target. The rows hold hashes only, and name no tenant."""
        freeze = self.datamap.relations.freeze
        if freeze is None:
            return
        table, column = f"{q(self.datamap.relations.schema)}.{q(freeze.table)}", q(freeze.column)
        hashes = [row[0] for row in self.source.rows(f"SELECT {column} FROM {table}")]
        with cleaning.under_origin(self.target, self.move) as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({column}) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", [hashes]
            )

    def _views(self, database: Database) -> None:
        cleaning.refresh_views(database, self.datamap)

    # The way back

    def prepare_back(self) -> None:
        """The stream from target to source, without a copy, followed from now on. After the forward copy is complete.

        Raises Transient while the forward stream has not caught up, Permanent where a takeover switched it off.
        """
        followed = self.reverse.subscribed()
        if followed is False:
            raise Permanent(
                "The stream back was switched off by a takeover: what it still holds is older than what the source wrote. "
                "Roll back and move again."
            )
        if followed is None:
            if any(state != "r" for state in self.forward.states().values()) or not self.forward.states():
                raise Transient("The copy is not complete yet; the way back is built after it.")
            if not self.forward.wait(self.forward.watermark(), 30):
                raise Transient("The target has not caught up yet; the way back is built once it has.")
        self.reverse.publish(tables.read(self.target, self.datamap))
        self.reverse.keep()
        self.reverse.subscribe(copy=False)

    def preflight_back(self, within_ms: int = 5000) -> WayBack:
        """Writes on the target and looks for it on the source. Times are of our own clock."""
        return self._probe(self.reverse, within_ms)

    def preflight_forth(self, within_ms: int = 5000) -> WayBack:
        """The same from source to target."""
        return self._probe(self.forward, within_ms)

    def _probe(self, flow: Flow, within_ms: int) -> WayBack:
        if not flow.stands():
            return WayBack(False, 0.0, f"Stream {flow.name} does not stand.")
        begun = time.monotonic()
        origin, number = flow.source.rows(
            "INSERT INTO lifecycle.probe AS p (tenant_id, origin, id) SELECT %s, region || '/mover', 1 FROM lifecycle.here "
            "ON CONFLICT (tenant_id, origin) DO UPDATE SET id = p.id + 1, at = clock_timestamp() RETURNING origin, id",
            [self.move.tenant],
        )[0]
        while (passed := time.monotonic() - begun) * 1000 < within_ms:
            if flow.target.one(
                "SELECT 1 FROM lifecycle.probe WHERE tenant_id = %s AND origin = %s AND id >= %s",
                [self.move.tenant, origin, number],
            ):
                return WayBack(True, time.monotonic() - begun)
            time.sleep(0.002)
        return WayBack(False, passed, f"A probe did not arrive within {within_ms} ms.")

    def lag(self) -> Lag:
        """How far the follower is behind the owner now."""
        return self.current().lag()

    def lags(self) -> Mapping[str, Lag]:
        """Both directions by stream name; one that does not stand is left out."""
        return {f.name: f.lag() for f in (self.forward, self.reverse) if f.slot() is not None}

    def current(self) -> Flow:
        """The stream from the owner to the follower, by the route rows; forth while nobody says otherwise."""
        owner = self.target.one("SELECT owner FROM lifecycle.route WHERE tenant_id = %s", [self.move.tenant])
        return self.reverse if owner == self.move.target.region and self.reverse.stands() else self.forward

    # Comparing and mending

    def compare(self, cursor: Any, seconds: float) -> Page[Difference]:
        """Rows of the follower against the owner's, and large objects."""
        return compare.compare(self.current(), self._tables(), cursor, seconds)

    def repair(self, differences: Sequence[Difference]) -> int:
        """Mends the follower under an origin of our own, so that nothing flows back."""
        return repair.repair(self.move, self.current(), self._tables(), differences)

    def watch_changes(self) -> str:
        """Notes from now on which keys the owner changes: before a comparison whose end shall cost little.

        Returns why it must wait: what notes changes takes a slot. '' where they are noted.
        """
        return changed.begin(self.move, self.current())

    def compare_changed(self) -> list[Difference]:
        """Compares only keys that changed since `watch_changes` or the last call: the end of a clean pass, cheap enough
        for a fence."""
        flow, moved = self.current(), self._tables()
        return compare.compare_keys(flow, moved, changed.take(self.move, flow, moved))

    def watch_no_more(self) -> None:
        """Nothing is noted any more on either side: what notes changes keeps log."""
        for each in (self.source, self.target):
            changed.end(self.move, each)

    def raise_sequences(self) -> int:
        """Before the follower owns: its sequences stand above the owner's. Returns how many were raised."""
        flow = self.current()
        return sequences.raise_above(flow.source, flow.target)

    # Ending

    def end_forth(self) -> bool:
        """Once the target owns, nothing comes this way any more: the stream forth goes, which spares the source's server
        the decoding of its whole log. False where the target does not own, or the way back does not stand."""
        if self.current() is not self.reverse:
            return False
        self.forward.drop()
        return True

    def drop(self) -> None:
        """Both streams go: subscriptions, slots, publications, the origin of our own writes. Raises while one is left.

        Each side's part goes also when the other side doesn't answer: Transient then, and the next call does the rest.
        """
        silent: list[Transient] = []
        oids: dict[str, int | None] = {}
        acts: list[Callable[[], None]] = [
            partial(throttled.stop, self.move, self.target),
            *(partial(changed.end, self.move, each) for each in (self.source, self.target)),
            *(partial(self._follow_no_more, flow, oids) for flow in (self.forward, self.reverse)),
            *(partial(self._publish_no_more, flow, oids) for flow in (self.forward, self.reverse)),
            *(partial(cleaning.drop_origin, each, self.move) for each in (self.source, self.target)),
        ]
        for act in acts:
            try:
                act()
            except Transient as error:
                silent.append(error)
        if silent:
            raise silent[0]
        left = [*cleaning.streams(self.move, self.source), *cleaning.streams(self.move, self.target)]
        if left:
            raise Transient(f"Streams are still there: {', '.join(sorted(set(left)))}.")

    @staticmethod
    def _follow_no_more(flow: Flow, oids: dict[str, int | None]) -> None:
        oids[flow.name] = flow.drop_following()

    @staticmethod
    def _publish_no_more(flow: Flow, oids: dict[str, int | None]) -> None:
        flow.drop_published(oids.get(flow.name))

    def clean(self, side: Side, gate: Gate | None = None) -> None:
        """Removes the tenant's rows from a side that was given up. Drop the streams first: one that is left refuses."""
        if side.region not in (self.move.source.region, self.move.target.region):
            raise Permanent("This side is no part of the move; nothing was removed.")
        own, other = (
            (self.source, self.target)
            if side.region == self.move.source.region
            else (self.target, self.source)
        )
        cleaning.clean(self.move, side.region, own, other, self.datamap, gate)

    def close(self) -> None:
        self.source.close()
        self.target.close()

    def _tables(self) -> list[Moved]:
        found = tables.read(self.source, self.datamap)
        lacking = tables.unprepared(found, self.move.source.region)
        if lacking:
            raise Permanent(" ".join(lacking))
        return found


def count(database: Database, moved: Sequence[Moved], tenant: str) -> dict[str, tuple[int, int]]:
    """Rows and estimated bytes of the tenant by `schema.table`."""
    found: dict[str, tuple[int, int]] = {}
    for table in moved:
        rows, size = database.rows(
            f"SELECT count(*), (count(*) * coalesce((SELECT pg_table_size(c.oid) / nullif(c.reltuples, -1) FROM pg_class c "
            f"WHERE c.oid = %s::regclass AND c.reltuples > 0), 100))::bigint FROM {table.quoted} WHERE {q(table.tenant)} = %s",
            [table.quoted.replace("%%", "%"), tenant],
        )[0]
        found[f"{table.schema}.{table.name}"] = (int(rows), int(size))
    return found


def dsn_of(side: Side) -> str:
    """The mover's address. Raises Permanent with a sentence where the environment has none."""
    dsn = side.place.get("mover_dsn")
    if not dsn:
        raise Permanent(
            f"The environment in {side.region} has no 'mover_dsn' for postgresql: name a role that may replicate."
        )
    return dsn


def connect(move: Move, datamap: DataMap) -> PostgresqlMover:
    """The mover of one move's rows."""
    return PostgresqlMover(move, datamap)
