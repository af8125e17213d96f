"""The applier's loop: which moves are live, which lanes have work, and what the board and the gates are told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lifecycle.applier.lanes import Lane, Standing
from lifecycle.applier.moves import Control, LiveMove
from lifecycle.systems.base import Permanent, Transient, whereabouts
from lifecycle.systems.following import Follower
from lifecycle.systems.ledger import Connections, Ledger, tops
from lifecycle.systems.pinecone.moves.follower import VectorFollower
from lifecycle.systems.s3.moves.follower import S3Follower

TICK = 0.1  # seconds between looks for new changes
REPORT = 1.0  # seconds between beats
LANES = 8  # lanes worked on at once
_FOLLOWERS: Mapping[str, Callable[[Mapping[str, str], Mapping[str, str]], Follower]] = {
    "s3": S3Follower,
    "pinecone": VectorFollower,
}
_log = logging.getLogger("lifecycle.applier")
Place = dict[str, str]
Resolve = Callable[[str], str]


class Applier:
    """All live moves. `resolve` turns a secret reference into its value; `memory` remembers moves over restarts."""

    def __init__(self, control_dsn: str, resolve: Resolve, memory: Path) -> None:
        self._dsn, self._resolve, self._memory = control_dsn, resolve, memory
        self._moves: dict[str, LiveMove] = {}
        self._lanes: dict[str, dict[tuple[str, str], Lane]] = {}  # move -> (follower's region, store) -> lane
        self._databases: dict[str, Connections] = {}
        self._followers: dict[tuple[str, ...], Follower] = {}
        self._regions: dict[str, dict[str, Connections]] = {}  # move -> region -> its database
        self._tops: dict[
            tuple[str, str], int
        ] = {}  # (follower's region, tenant) -> newest number of the other's changes
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self) -> None:
        """Works until `stop`. Survives the death of the control database, of either region, and of itself."""
        reporter = threading.Thread(target=self._report_for_ever, name="applier-report", daemon=True)
        with ThreadPoolExecutor(LANES, thread_name_prefix="applier") as pool:
            reporter.start()
            while not self._stop.is_set():
                self._tick(pool)
                self._stop.wait(TICK)
        reporter.join(10)
        self._close()

    def stop(self) -> None:
        """Ends `run` once what is under way is done."""
        self._stop.set()

    def take(self, moves: Sequence[LiveMove]) -> None:
        """These moves are live now, and no others."""
        with self._lock:
            for gone in set(self._moves) - {move.id for move in moves}:
                self._moves.pop(gone)
                self._lanes.pop(gone, None)
                self._regions.pop(gone, None)
                self._problems.pop(gone, None)
            for move in moves:
                if self._moves.get(move.id) != move or move.id not in self._lanes:
                    self._open(move)

    def standing(self) -> dict[str, Any]:
        """How every lane stands, for the beat: {move: {follower's region: {store: {behind, seconds, failed, ...}}}}."""
        with self._lock:
            lanes = {move: dict(found) for move, found in self._lanes.items()}
            problems = dict(self._problems)
        shown: dict[str, Any] = {move: {"problem": problem} for move, problem in problems.items()}
        for move, found in lanes.items():
            tenant = self._moves[move].tenant if move in self._moves else ""
            for (region, store), lane in found.items():
                told = self._standing(lane, self._tops.get((region, tenant), 0))
                shown.setdefault(move, {}).setdefault(region, {})[store] = told
        return shown

    # The loop

    def _tick(self, pool: ThreadPoolExecutor) -> None:
        with self._lock:
            work = [(self._moves[move], dict(lanes)) for move, lanes in self._lanes.items()]
            self._look([move for move, _ in work])
        for move, lanes in work:
            for (region, _), lane in lanes.items():
                top = self._tops.get((region, move.tenant), 0)
                if lane.is_due(top) and lane.busy.acquire(blocking=False):
                    pool.submit(self._work, move.id, region, lane, top)

    def _look(self, moves: Sequence[LiveMove]) -> None:
        """Asks each database once for the newest numbers of all its tenants."""
        asked: dict[tuple[str, str], tuple[Connections, list[str]]] = {}
        for move in moves:
            for region, origin in (
                (move.source_region, move.target_region),
                (move.target_region, move.source_region),
            ):
                database = self._regions[move.id][region]
                asked.setdefault((region, origin), (database, []))[1].append(move.tenant)
        for (region, origin), (database, tenants) in asked.items():
            try:
                found = tops(database, origin, tenants)
            except (Transient, Permanent):
                continue  # the lanes meet the same trouble and tell it
            self._tops |= {(region, tenant): top for tenant, top in found.items()}

    def _work(self, move: str, region: str, lane: Lane, top: int) -> None:
        try:
            done = lane.work(top)
            if done:
                _log.debug("move %s, %s to %s: %d applied", move, lane.store, region, done)
        except Exception as error:
            where = whereabouts(error)
            _log.error("move %s, %s to %s: a round broke off: %s", move, lane.store, region, where)
        finally:
            lane.busy.release()

    def _standing(self, lane: Lane, top: int) -> dict[str, object]:
        try:
            return lane.standing(top).shown()
        except (Transient, Permanent) as error:
            return Standing(-1, -1.0, 0, 0, str(error)).shown()

    # Reports

    def _report_for_ever(self) -> None:
        control = Control(self._dsn, self._memory)
        self.take(control.remembered())
        said: dict[str, str] = {}
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                said = self._report(control, said)
            except Exception as error:
                _log.error("a report broke off: %s", whereabouts(error))
            self._stop.wait(max(0.05, REPORT - (time.monotonic() - began)))
        control.close()

    def _report(self, control: Control, said: dict[str, str]) -> dict[str, str]:
        live = control.live()
        if live is not None:
            known = list(self._moves.values())
            self.take(live)
            if sorted(known, key=lambda move: move.id) != live:
                control.remember(live)
        standing = self.standing()
        control.beat({"moves": standing, "control": live is not None})
        return _complain(standing, said)

    # Lanes

    def _open(self, move: LiveMove) -> None:
        """Makes a move's lanes; a move whose places can't be resolved is a problem of its own, told and tried again."""
        self._moves[move.id] = move
        try:
            sides = {
                move.source_region: self._places(move.source),
                move.target_region: self._places(move.target),
            }
            ledgers = {region: self._ledger(place, move.tenant) for region, place in sides.items()}
            self._regions[move.id] = {region: self._database(place) for region, place in sides.items()}
            lanes: dict[tuple[str, str], Lane] = {}
            for here, there in (
                (move.target_region, move.source_region),
                (move.source_region, move.target_region),
            ):
                for store in _FOLLOWERS:
                    if store in sides[here] and store in sides[there]:
                        follower = self._follower(store, sides[there][store], sides[here][store])
                        lanes[here, store] = Lane(store, there, ledgers[here], ledgers[there], follower)
            self._lanes[move.id] = lanes
            self._problems.pop(move.id, None)
        except (Permanent, Transient) as error:
            self._problems[move.id] = str(error)

    def _places(self, places: Mapping[str, Mapping[str, str]]) -> dict[str, Place]:
        wanted = ("postgresql", *_FOLLOWERS)
        return {
            system: {name: self._resolve(str(value)) for name, value in places[system].items()}
            for system in wanted
            if system in places
        }

    def _database(self, sides: Mapping[str, Place]) -> Connections:
        place = sides.get("postgresql", {})
        dsn = place.get("mover_dsn") or place.get("dsn")
        if not dsn:
            raise Permanent(
                "An environment of the move has no settings for postgresql; the applier needs its rows."
            )
        if dsn not in self._databases:
            self._databases[dsn] = Connections(dsn)
        return self._databases[dsn]

    def _ledger(self, sides: Mapping[str, Place], tenant: str) -> Ledger:
        return Ledger(self._database(sides), tenant)

    def _follower(self, store: str, source: Place, target: Place) -> Follower:
        """One follower for all tenants that share two places: they share its connections and threads."""
        key = (store, *map(str, sorted(source.items())), "to", *map(str, sorted(target.items())))
        if key not in self._followers:
            self._followers[key] = _FOLLOWERS[store](source, target)
        return self._followers[key]

    def _close(self) -> None:
        for follower in self._followers.values():
            follower.close()
        for database in self._databases.values():
            database.close()


def _complain(standing: Mapping[str, Any], said: Mapping[str, str]) -> dict[str, str]:
    """Logs each trouble once, when it begins or changes. Returns what was said."""
    now: dict[str, str] = {}
    for move, regions in standing.items():
        if problem := regions.get("problem"):
            now[move] = str(problem)
        for region, stores in regions.items():
            if region == "problem":
                continue
            for store, told in stores.items():
                if told["why"]:
                    count = f"{told['failed']} keys can't be applied: " if told["failed"] else ""
                    now[f"{move}, {store} to {region}"] = f"{count}{told['why']}"
    for where, what in now.items():
        if said.get(where) != what:
            _log.warning("move %s: %s", where, what)
    return now
