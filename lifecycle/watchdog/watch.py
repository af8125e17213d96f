"""The watch: keeps weights, owners and leases where the orders want them, and takes a bad green back by itself.

It needs the load balancer's socket, the two regions' databases and its state folder, nothing else: with the control
database, the workers, Redis and Prometheus dead it goes on with what it last knew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from lifecycle.health.gates import Limits, State, Verdict, judge
from lifecycle.health.meter import Meter
from lifecycle.systems.base import Permanent, whereabouts
from lifecycle.traffic.base import Refused, Split, Traffic, Unreachable
from lifecycle.watchdog.facts import View
from lifecycle.watchdog.hands import Hand, Settled
from lifecycle.watchdog.orders import Desk, Order
from lifecycle.watchdog.probing import Prober, Target
from lifecycle.watchdog.regions import Regions
from lifecycle.watchdog.state import Book, Move

log = logging.getLogger("lifecycle.watchdog")

FEW = 10  # so many moves are judged twice a second, more once
_CUTTING = frozenset({"health", "database", "answers"})
_PATIENT_S = (
    1.0  # what a green that answers some requests may take to answer those under way; then they are cut too
)
_RETRY_S = 1.0
_GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class Places:
    """Resolved addresses of one region of a move; secrets."""

    dsn: str
    app: str


class Watch:
    """One watchdog. `resolve` turns a reference into what it stands for; `edge` is the load balancer's address; `tend`
    hears whose requests are to be counted (blue and green by tenant), where something must be asked for them."""

    def __init__(
        self,
        *,
        desk: Desk,
        book: Book,
        traffic: Traffic,
        meter: Meter,
        resolve: Callable[[str], str],
        edge: str,
        tend: Callable[[Mapping[str, tuple[str, str]]], None] = lambda _moves: None,
    ) -> None:
        self._desk, self._book, self._traffic, self._meter, self._edge = desk, book, traffic, meter, edge
        self._resolve, self._tend = resolve, tend
        self._regions = Regions()
        self._prober = Prober(lambda migration: self._expected(migration))
        self._hands = ThreadPoolExecutor(16, thread_name_prefix="hand")
        self._lock = threading.RLock()
        self._moves = book.read()
        self._views: dict[str, View] = {}
        self._busy: dict[str, Future[Settled]] = {}
        self._not_before: dict[str, float] = {}
        self._cut_at: dict[str, float] = {}
        self._said: dict[str, Mapping[str, Any]] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._stop = threading.Event()
        self._took = 0.0

    def run(self) -> None:
        """Watches until `close`."""
        self._adopt()
        self._desk.start()
        judged = read = 0.0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._follow()
                self._assert_owners(only_back=not self._weighed())
                if began - judged >= self._period - 0.02:
                    judged = began
                    self._judge()
                if began - read >= 0.98:
                    read = began
                    self._read()
                self._save()
            except Unreachable as failure:
                log.error("%s It is tried again.", failure)
                judged = read = began
            except Exception as error:
                # The watch must go on: the next look may succeed, and the heartbeat says how long one took.
                log.error("One look of the watchdog failed: %s", whereabouts(error))
                judged = read = began
            now = time.monotonic()
            self._took = now - began
            # Whatever woke it in between, the next look is due when it is due: else two may lie two periods apart.
            due = min(judged + self._period, read + 1.0)
            self._desk.changed.wait(max(0.02, due - now))
            self._desk.changed.clear()

    @property
    def _period(self) -> float:
        """Seconds between two looks at each move."""
        return 0.5 if len(self._moves) <= FEW else 1.0

    def close(self) -> None:
        """Ends the watch; weights and owners stay as they are, leases run out."""
        self._stop.set()
        self._desk.changed.set()
        self._prober.close()
        self._desk.close()
        self._regions.close()
        self._hands.shutdown(wait=False, cancel_futures=True)

    def _adopt(self) -> None:
        """First of all after a start: leases of what green owns are renewed again."""
        for move in self._moves.values():
            view = self._view(move)
            if (
                view is not None
                and move.owner == move.order.green
                and not move.latch
                and not move.order.closed
            ):
                view.green.leases.adopt(move.order.tenant, move.epoch)

    # What the orders say

    def _follow(self) -> None:
        orders = self._desk.orders()
        if orders is None:
            return
        with self._lock:
            for order in orders:
                move = self._moves.get(order.migration)
                if move is None:
                    self._moves[order.migration] = Move(order, owner=order.blue)
                elif order.epoch >= move.order.epoch:
                    self._take(move, order)
            for name in self._moves.keys() - {order.migration for order in orders}:
                if name not in self._busy:
                    self._drop(name)

    def _take(self, move: Move, order: Order) -> None:
        if move.latch:
            written = self._desk.latch_written_at(order.migration)
            if written is not None and not order.latched and order.epoch > written:
                log.warning("%s: a new decision clears the latch.", order.migration)
                self._desk.forget_latch(order.migration)
                move.latch, move.latch_at, move.conflicts = "", "", None
            elif written is None:
                self._desk.tell_latch(order.migration, move.latch)
        changed = (order.share, order.owner) != (move.order.share, move.order.owner)
        if changed and order.migration in self._views:
            self._views[order.migration].restart()
        move.order = order

    def _drop(self, name: str) -> None:
        move = self._moves.pop(name)
        self._meter.forget(move.order.tenant)
        self._views.pop(name, None)
        self._said.pop(name, None)
        self._verdicts.pop(name, None)

    def _view(self, move: Move) -> View | None:
        """The instruments of one move; None while its places can't be resolved."""
        name = move.order.migration
        if name not in self._views:
            try:
                blue, green = (
                    self._places(move.order, "blue_places"),
                    self._places(move.order, "green_places"),
                )
            except Permanent as failure:
                log.error("%s: %s", name, failure)
                return None
            b, g = (
                self._regions.get(move.order.blue, blue.dsn),
                self._regions.get(move.order.green, green.dsn),
            )
            forth, back = self._regions.flow(b, g), self._regions.flow(g, b)
            self._views[name] = View(move, b, g, forth, back, (blue.app, green.app), time.monotonic())
        return self._views[name]

    def _places(self, order: Order, key: str) -> Places:
        found = order.settings.get(key)
        if not found or not found.get("dsn"):
            raise Permanent(f"The order names no {key}.dsn, so nothing can be watched there.")
        return Places(self._resolve(found["dsn"]), self._resolve(found["app"]) if found.get("app") else "")

    # Weights

    def _split(self, move: Move) -> Split:
        order = move.order
        if order.closed:
            return Split(order.owner)
        return Split(order.blue, order.green, 0 if move.latch else order.share)

    def _weighed(self) -> bool:
        """Whether all weights are as they should be. Where not, owners still go back: that needs the databases only."""
        try:
            self._assert_weights()
            self._cut_due()
        except (Unreachable, Refused) as failure:
            log.error("%s Weights can't be changed until that ends.", failure)
            return False
        return True

    def _assert_weights(self) -> None:
        moving = self._traffic.moving()
        for move in list(self._moves.values()):
            wanted = self._split(move)
            if move.order.closed:
                # First the route, then the end of the split: requests go where they are understood all along.
                if move.done < move.order.epoch:
                    to_green = move.order.owner == move.order.green and not move.latch
                    wanted = Split(move.order.blue, move.order.green, 100 if to_green else 0)
                elif move.order.tenant not in moving:
                    continue
            if moving.get(move.order.tenant) != wanted:
                self._apply(move, wanted)

    def _apply(self, move: Move, split: Split) -> None:
        began = time.monotonic()
        self._traffic.apply(move.order.tenant, split)
        view = self._views.get(move.order.migration)
        if view is not None:
            view.apply_s = time.monotonic() - began
            view.restart()
        log.info("%s: %d %% to %s.", move.order.migration, split.share, split.target or split.home)

    # Owners

    def _assert_owners(self, *, only_back: bool) -> None:
        for name, move in list(self._moves.items()):
            future = self._busy.get(name)
            if future is not None:
                if not future.done():
                    continue
                del self._busy[name]
                self._settled(move, future.result())
            if self._is_due(move) and (move.latch or not only_back):
                self._reach(name, move)

    def _is_due(self, move: Move) -> bool:
        if self._not_before.get(move.order.migration, 0.0) > time.monotonic():
            return False
        return (
            not move.settled
            or not move.told
            or move.owner != self._owner(move)
            or move.done < move.order.epoch
        )

    def _owner(self, move: Move) -> str:
        return move.order.blue if move.latch else move.order.owner

    def _reach(self, name: str, move: Move) -> None:
        view = self._view(move)
        if view is None:
            self._not_before[name] = time.monotonic() + _RETRY_S
            return
        owner, order = self._owner(move), move.order
        hand = Hand(move, view.blue, view.green, self._save)
        if order.closed and not move.latch:
            self._busy[name] = self._hands.submit(hand.close_for_good, owner)
        else:
            self._busy[name] = self._hands.submit(hand.settle, owner, blocked=view.blocked)
        # Whoever waits for the hand is told at once, not at the next look.
        self._busy[name].add_done_callback(lambda _done: self._desk.changed.set())

    def _settled(self, move: Move, settled: Settled) -> None:
        order, view = move.order, self._views.get(move.order.migration)
        if settled.flip is not None and view is not None:
            view.restart()
        if settled.why:
            move.settled = False
            self._not_before[order.migration] = time.monotonic() + _RETRY_S
            self._outcome(move, {"state": "waiting", "why": settled.why})
            return
        move.settled, move.told = settled.owner == self._owner(move), settled.told
        if not move.told:
            self._not_before[order.migration] = time.monotonic() + _RETRY_S
        if move.latch and (order.share or order.owner != order.blue):
            self._outcome(move, {"state": "refused", "why": f"It went back: {move.latch}"}, settled)
            move.done = max(move.done, order.epoch)
            return
        if not move.settled:
            return
        if order.closed:
            self._traffic.apply(order.tenant, self._split(move))
        move.done = max(move.done, order.epoch)
        self._outcome(move, {"state": "done", "why": ""}, settled)

    def _outcome(self, move: Move, said: dict[str, Any], settled: Settled | None = None) -> None:
        outcome = {"epoch": move.order.epoch, "owner": move.owner, "route_epoch": move.epoch, **said}
        if settled is not None and settled.flip is not None:
            outcome |= {
                "pause_ms": round(settled.flip.pause_ms, 1),
                "drained": settled.flip.drained,
                "taken_over": settled.flip.taken_over,
                "ended_writers": settled.flip.ended_writers,
            }
        if outcome != self._said.get(move.order.migration):
            self._said[move.order.migration] = outcome
            self._desk.tell_outcome(move.order, outcome)

    # Judgement

    def _judge(self) -> None:
        self._measure()
        for name, move in list(self._moves.items()):
            view = self._view(move) if move.order.watched and not move.order.closed else None
            if view is None:
                continue
            share = 0 if move.latch else move.order.share
            facts = view.facts(self._meter, self._prober, share)
            verdict = judge(facts, Limits.of(dict(move.order.settings.get("gates", {}))))
            self._verdicts[name] = verdict
            # On a way back that was ordered a trip would change nothing, and ask for one more decision each time.
            forth = share or move.order.owner == move.order.green
            if verdict.state is State.TRIP and not move.latch and forth:
                self._trip(name, move, view, verdict)

    def _measure(self) -> None:
        """Tells the instruments whom to measure."""
        targets, tenants, resting = [], dict[str, set[str]](), dict[tuple[str, str], set[str]]()
        counted = dict[str, tuple[str, str]]()
        for name, move in self._moves.items():
            if not move.order.watched or move.order.closed or (view := self._view(move)) is None:
                continue
            order = move.order
            counted[order.tenant] = order.blue, order.green
            if move.owner == order.green:
                resting.setdefault((view.blue.dsn, view.green.dsn), set()).add(order.tenant)
            # Resolving a reference reads a file: once for a view, not at each look at each of fifty moves.
            for region, app in zip((view.blue, view.green), view.apps, strict=True):
                tenants.setdefault(region.dsn, set()).add(order.tenant)
                if app:
                    is_blue = region is view.blue
                    writes = not is_blue or move.owner == order.blue
                    targets.append(
                        Target(name, region.name, order.tenant, app, touches=is_blue, writes=writes)
                    )
        self._tend(counted)
        self._regions.share(tenants, resting)
        self._prober.tend(targets, self._edge)

    def _trip(self, name: str, move: Move, view: View, verdict: Verdict) -> None:
        """Back to blue: weights at once, then the record, then the owner."""
        began = time.monotonic()
        order = move.order
        with self._lock:
            move.latch = f"{verdict.gate}: {verdict.why}"
            move.latch_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        view.green.leases.stop(order.tenant)
        try:
            self._traffic.apply(order.tenant, self._split(move))
            if verdict.gate in _CUTTING:
                self._cut(order)
        except (Unreachable, Refused) as failure:
            log.error("%s: %s The owner goes back all the same.", name, failure)
        if verdict.gate == "errors":
            # Some of them may be waiting for a part that hangs, for as long as the load balancer allows.
            self._cut_at[name] = time.monotonic() + _PATIENT_S
        self._not_before.pop(name, None)
        move.settled = False
        if name not in self._busy:
            self._reach(name, move)
        self._save()
        self._desk.tell_latch(name, move.latch)
        log.warning(
            "%s: tripped after %.0f ms of this look; %s", name, (time.monotonic() - began) * 1000, move.latch
        )

    def _cut_due(self) -> None:
        now = time.monotonic()
        for name in [name for name, at in self._cut_at.items() if at <= now]:
            del self._cut_at[name]
            move = self._moves.get(name)
            if move is not None and self._split(move).share == 0:
                self._cut(move.order)

    def _cut(self, order: Order) -> None:
        try:
            self._traffic.cut(order.tenant, order.green)
        except Refused as why:
            log.warning("%s: requests under way at %s are not ended. %s", order.migration, order.green, why)

    def _expected(self, migration: str) -> str:
        """The golden answer: what blue said first. Blue answers from its own stores, whoever owns the writes."""
        move = self._moves.get(migration)
        if move is None:
            return ""
        if not move.expected:
            move.expected = self._prober.answer(migration, move.order.blue)
        return move.expected

    # What others see

    def _read(self) -> None:
        latched = []
        for name, move in self._moves.items():
            if move.latch:
                latched.append(name)
            view, verdict = self._views.get(name), self._verdicts.get(name)
            if view is not None and verdict is not None and move.order.watched:
                share = 0 if move.latch else move.order.share
                self._desk.tell_reading(name, view.reading(self._meter, share, verdict))
        age = self._desk.age()
        detail = {"moves": len(self._moves), "look_ms": round(self._took * 1000, 1), "latched": latched[:50]}
        self._desk.tell_alive(detail | {"orders_age_s": round(min(age, 1e6), 1)})

    def _save(self) -> None:
        with self._lock:
            self._book.write({name: replace(move) for name, move in self._moves.items()})
