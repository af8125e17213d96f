"""Every interleaving of flips forth and back with a bounded number of faults, on the real code over a model of two servers.

The watchdog's own `Hand`, `flip` and `Leases` run; the two databases are a few lines of Python that do what the statements
do. At every statement the explorer tries each fault in turn: the answer is lost, the statement is lost, it is carried out
much later (a stopped server that wakes), the watchdog dies before or after it. After every single statement at most one
region may accept writes. Mutants of the protocol show that the explorer would see a mistake.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lifecycle.watchdog import flip, hands, leases
from lifecycle.watchdog.hands import Hand
from lifecycle.watchdog.lines import Unreachable
from lifecycle.watchdog.orders import Order
from lifecycle.watchdog.regions import Region
from lifecycle.watchdog.state import Move
from tests.lifecycle.watchdog.pair import BLUE, GREEN, TENANT

START = datetime(2026, 1, 1, tzinfo=UTC)
FOREVER = 1e12


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of watchdogs would say that they went back."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


class Died(BaseException):
    """The watchdog was killed here."""


class TwoOwners(AssertionError):
    """What must never be."""


class Choices:
    """One run's decisions: a prefix that is given, then always the first; `next` is the prefix after it."""

    def __init__(self, prefix: Sequence[int]) -> None:
        self._prefix, self.made = list(prefix), list[tuple[int, int]]()

    def pick(self, options: int) -> int:
        if options == 1:
            return 0
        choice = self._prefix[len(self.made)] if len(self.made) < len(self._prefix) else 0
        self.made.append((choice, options))
        return choice

    def next(self) -> list[int] | None:
        made = list(self.made)
        while made:
            choice, options = made.pop()
            if choice + 1 < options:
                return [each for each, _ in made] + [choice + 1]
        return None


@dataclass
class Row:
    owner: str
    epoch: int
    lease: float = FOREVER


@dataclass
class World:
    """Two databases, a clock, and what is on its way to a stopped server."""

    choices: Choices
    faults: int
    now: float = 1000.0
    rows: dict[str, Row] = field(default_factory=lambda: {BLUE: Row(BLUE, 1), GREEN: Row(BLUE, 1)})
    late: list[Callable[[], None]] = field(default_factory=list)
    relative_leases: bool = False

    # The parts of the module `time` that the watchdog uses.
    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def accepts(self, region: str) -> bool:
        row = self.rows[region]
        return row.owner == region and row.lease > self.now

    def check(self) -> None:
        if self.accepts(BLUE) and self.accepts(GREEN):
            raise TwoOwners(str(self.rows))

    def fault(self, kinds: Sequence[str]) -> str:
        """What happens now: nothing, or one of the faults, as long as some are left."""
        self.check()
        if self.late and self.choices.pick(2):
            self.late.pop(0)()
            self.check()
        if not self.faults:
            return ""
        choice = self.choices.pick(len(kinds) + 1)
        if choice:
            self.faults -= 1
        return ["", *kinds][choice]


class Fake:
    """A line to one region's model."""

    def __init__(self, world: World, region: str) -> None:
        self._world, self._region = world, region
        self._open: Callable[[], None] | None = None

    def __call__(self, statement: str, parameters: Sequence[Any] = (), *, seconds: float = 1.0) -> list[Any]:
        world = self._world
        # Blue's database always answers; green's can do anything.
        reading = statement.lstrip().startswith("SELECT")
        kinds = ["die", "die after"] if not reading else []
        if self._region == GREEN:
            kinds = [*kinds, "unheard"] if reading else [*kinds, "lost", "late", "unheard"]
        happened = world.fault(kinds)
        if happened == "die":
            raise Died
        effect, rows = self._meaning(statement, parameters)
        if happened == "late":
            world.late.append(effect)
        elif happened != "lost":
            effect()
        world.check()
        if happened == "die after":
            raise Died
        if happened:
            self._open = None
            world.now += seconds
            raise Unreachable("silent", sent=True)
        return rows

    def close(self) -> None:
        self._open = None

    def _meaning(self, statement: str, given: Sequence[Any]) -> tuple[Callable[[], None], list[Any]]:
        """What the statement does, to be done now or later, and what it answers now."""
        row, world = self._world.rows[self._region], self._world

        def nothing() -> None:
            pass

        if statement == flip._FENCE:
            _, _, _, owner, epoch, _, _, _ = given

            def demote() -> None:
                if row.epoch <= epoch:
                    row.owner, row.epoch = owner, epoch

            self._open = demote
            return nothing, [(row.owner, row.epoch)] if row.epoch <= epoch else []
        if statement == "COMMIT":
            effect, self._open = self._open or nothing, None
            return effect, []
        if statement == flip._DEMOTE:
            owner, epoch, _, _ = given

            def told() -> None:
                if row.epoch <= epoch:
                    row.owner, row.epoch = owner, epoch

            return told, [(epoch,)]
        if statement == flip._PROMOTE:
            epoch, until, _, _, _ = given
            fits = row.epoch < epoch or (row.epoch == epoch and row.owner == self._region)

            def promote() -> None:
                if row.epoch < epoch or (row.epoch == epoch and row.owner == self._region):
                    row.owner, row.epoch, row.lease = self._region, epoch, self._until(until)

            return promote, [(epoch,)] if fits else []
        if statement == leases._RENEW:
            _, (epoch,), (until,) = given

            def renew() -> None:
                if row.owner == self._region and row.epoch == epoch and row.lease != FOREVER:
                    row.lease = self._until(until)

            return renew, [(TENANT,)]
        if statement == hands._ROUTE:
            return nothing, [(row.owner, row.epoch, row.lease != FOREVER)]
        if statement == "SELECT clock_timestamp()":
            return nothing, [(START + timedelta(seconds=world.now),)]
        if "epoch < %s" in statement:
            return nothing, [(1,)] if row.epoch < given[1] else []
        if "last_value" in statement or "lifecycle.probe" in statement:
            return nothing, [(1,)]
        return nothing, []

    def _until(self, until: datetime | str) -> float:
        if isinstance(until, str):
            return FOREVER
        # The mutant: what "now() + interval" would mean when a statement is carried out late.
        return (
            self._world.now + leases.LEASE_S
            if self._world.relative_leases
            else (until - START).total_seconds()
        )


ORDER = Order("mig-1", TENANT, 1, 100, GREEN, True, {}, False, False, BLUE, GREEN, "safe")


def play(world: World, goals: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog brings about each goal in turn, restarted when it dies, until nothing is on its way any more."""
    for module in (flip, leases, hands):
        monkeypatch.setattr(module, "time", world)
    monkeypatch.setattr(hands, "Line", lambda dsn, name: Fake(world, dsn))
    monkeypatch.setattr(hands, "raise_sequences", lambda *_given: 0)
    saved = Move(ORDER, owner=BLUE)
    for goal in goals:
        saved = reach(world, goal, saved)
    while world.late:
        world.late.pop(0)()
        world.check()


def reach(world: World, goal: str, saved: Move) -> Move:
    regions = {name: Region(name, name) for name in (BLUE, GREEN)}
    move = replace(saved)
    for _attempt in range(12):
        try:
            renew(world, move, regions[GREEN])

            def save(of: Move = move) -> None:
                nonlocal saved
                saved = replace(of)

            settled = Hand(move, regions[BLUE], regions[GREEN], save).settle(goal)
            world.check()
            if settled.owner == goal and not settled.why:
                return replace(move)
        except Died:
            world.now += 0.3
            move, regions = replace(saved), {name: Region(name, name) for name in (BLUE, GREEN)}
        world.now += 0.5
    raise AssertionError(f"{goal} was never reached: {world.rows}")


def renew(world: World, move: Move, green: Region) -> None:
    """The thread that renews leases, between two steps of the hand."""
    if move.owner == GREEN:
        green.leases.adopt(TENANT, move.epoch)
    line = Fake(world, GREEN)
    try:
        green.leases.renew(line, leases.Clock(line))  # type: ignore[arg-type]
    except Unreachable:
        return


def explore(
    goals: Sequence[str], faults: int, monkeypatch: pytest.MonkeyPatch, relative_leases: bool = False
) -> Iterator[World]:
    prefix: list[int] | None = []
    while prefix is not None:
        choices = Choices(prefix)
        world = World(choices, faults, relative_leases=relative_leases)
        play(world, goals, monkeypatch)
        yield world
        prefix = choices.next()


GOALS = [(GREEN, BLUE), (GREEN, BLUE, GREEN), (BLUE, GREEN)]


@pytest.mark.parametrize("goals", GOALS)
def test_never_two_owners_whatever_fails_once(goals: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    runs = 0
    for world in explore(goals, 1, monkeypatch):
        runs += 1
        assert world.accepts(goals[-1]) or goals[-1] == GREEN
    assert runs > 50


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("goals", GOALS)
def test_never_two_owners_whatever_fails_twice(goals: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    runs = 0
    for world in explore(goals, 2, monkeypatch):
        runs += 1
        assert world.accepts(goals[-1]) or goals[-1] == GREEN
    assert runs > 10_000


def test_the_explorer_sees_leases_that_begin_when_they_are_carried_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(TwoOwners):
        for _ in explore((GREEN, BLUE), 2, monkeypatch, relative_leases=True):
            pass


def test_the_explorer_sees_a_takeover_that_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flip, "_outwait", lambda _change: None)
    with pytest.raises(TwoOwners):
        for _ in explore((GREEN, BLUE), 2, monkeypatch):
            pass


def test_the_explorer_sees_a_new_owner_before_the_old_one_is_demoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(change: flip.Change) -> flip.Fenced:
        return flip.Fenced(1, 0.0, 0, owned=False)

    monkeypatch.setattr(flip, "fence", hasty)
    with pytest.raises(TwoOwners):
        for _ in explore((GREEN, BLUE), 0, monkeypatch):
            pass
