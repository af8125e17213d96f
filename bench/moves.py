"""What a move does, beside the best raw tools: rows, objects and vectors a second, the pause of a flip, the gates.

Rows go between databases of their own on both regions' servers; objects and vectors of a new tenant between the regions'
stores. The peers copy, and verify nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import sql

from bench import going_back, sets
from bench import moving_peers as peers
from bench.flipping import pause_of_writes
from bench.report import Result
from config.environment import ROOT
from lifecycle.datamap.loader import load
from lifecycle.datamap.model import DataMap
from lifecycle.health.simulation import near, simulate
from lifecycle.participation import install
from lifecycle.systems import registry
from lifecycle.systems.movable import Move, Mover, Side
from lifecycle.systems.postgresql.streams import identity

BLUE, GREEN = "us-east-1", "us-west-2"
ROWS, OBJECTS, VECTORS = 100_000, 2_000, 10_000
FLIPS = 5
SEEDS = (1, 2, 3)
_SLICE = 60.0
_ROUTE = """
INSERT INTO lifecycle.route (tenant_id, owner, epoch, other, moving, slot) VALUES (%s, %s, 1, %s, true, %s)
ON CONFLICT (tenant_id) DO UPDATE SET owner = excluded.owner, other = excluded.other, moving = true, slot = excluded.slot
"""


@dataclass(frozen=True, slots=True)
class Ground:
    """Databases on both regions' servers: `dsn` for the role that moves, `app` for the platform's, by region."""

    name: str
    dsn: dict[str, str]
    app: dict[str, str]
    stack: dict[str, Any]

    @classmethod
    def at(cls, stack: dict[str, Any], name: str) -> Ground:
        """Named, not made."""
        regions = stack["regions"]
        return cls(
            name,
            {each: _named(regions[each]["postgres_mover"], name) for each in (BLUE, GREEN)},
            {each: _named(regions[each]["postgres"], name) for each in (BLUE, GREEN)},
            stack,
        )

    def move(self, tenant: str, system: str) -> Move:
        """A move of the tenant between the two, as one system sees it."""
        return Move(self.name, tenant, *(self._side(region, system) for region in (BLUE, GREEN)))

    def _side(self, region: str, system: str) -> Side:
        if system == "postgresql":
            return Side(region, {"dsn": self.app[region], "mover_dsn": self.dsn[region]})
        return Side(region, {**self.stack["regions"][region][system], "ledger_dsn": self.dsn[region]})


def run(stack: dict[str, Any], scale: float, say: Callable[[str], None]) -> list[Result]:
    """All of it, once each."""
    datamap = load((ROOT / "demo" / "datamap.yaml").read_text())
    with ground(stack) as place:
        for dsn in place.dsn.values():
            identity.prepare(dsn, datamap)
        results = [
            *_rows(place, datamap, max(1_000, int(ROWS * scale))),
            *_objects(place, datamap, max(100, int(OBJECTS * scale))),
            *_vectors(place, datamap, max(100, int(VECTORS * scale))),
        ]
    return results + going_back.run(stack, say) + _gates(say)


@contextmanager
def ground(stack: dict[str, Any]) -> Iterator[Ground]:
    """The sample platform's schema in a database of its own in each region; gone afterwards."""
    place = Ground.at(stack, f"bench_{secrets.token_hex(4)}")
    for region in (BLUE, GREEN):
        _admin(stack, region, "CREATE DATABASE {} OWNER app", place.name)
    try:
        for number, region in enumerate((BLUE, GREEN)):
            _say(place.app[region], (ROOT / "demo" / "platform" / "schema.sql").read_text())
            _say(place.app[region], f"SELECT setval('platform_ids', {1 + number * 10**15})")
            install(place.app[region], region)
        yield place
    finally:
        for region in (GREEN, BLUE):
            _admin(stack, region, "DROP DATABASE {} WITH (FORCE)", place.name)


def _rows(place: Ground, datamap: DataMap, number: int) -> list[Result]:
    """The initial sync of a tenant's rows beside a COPY pipe and pgcopydb, then flips under writes."""
    tenant = f"b{secrets.token_hex(5)}"
    sets.rows({"postgres": place.app[BLUE]}, tenant, number)
    _routes(place, tenant)
    with closing(registry.mover("postgresql", place.move(tenant, "postgresql"), datamap)) as mover:
        ours = _copied(mover)
        piped = peers.copy_pipe(place.app[BLUE], tenant, lambda: _scratch(place))
        cloned = peers.pgcopydb(place.app[BLUE], lambda: _scratch(place, schema=False))
        try:
            # Any: the way back is the database mover's own, beyond the contract of all movers.
            streams: Any = mover
            streams.prepare_back()
            paused = pause_of_writes(place.dsn, place.name, tenant, FLIPS)
        finally:
            streams.drop()
    return [
        Result.of("move: rows", number / ours, number / cloned, "pgcopydb clone", 0.8),
        Result.of("move: rows (COPY)", number / ours, number / piped, "COPY pipe", 0.0),
        Result("move: write pause, 300/s", "ms", round(paused, 1), goal=100.0),
    ]


def _objects(place: Ground, datamap: DataMap, number: int) -> list[Result]:
    """Objects, copied and compared, beside rclone and s5cmd, which only copy, and of every object its newest version."""
    equal, older = (_medians(place, datamap, number // 2, versions) for versions in (1, sets.VERSIONS))
    rates = [[number // 2 / each for each in seconds] for seconds in (equal, older)]
    return [
        Result.of("move: objects, verified", rates[0][0], rates[0][1], "rclone copy", 0.8),
        Result.of("move: objects (s5cmd)", rates[0][0], rates[0][2], "s5cmd, down and up", 0.0),
        Result.of("move: objects, 2 versions", rates[1][0], rates[1][1], "rclone copy, newest only", 0.0),
    ]


def _medians(place: Ground, datamap: DataMap, number: int, versions: int) -> list[float]:
    """Medians of three races: who comes first finds a store that has not grown yet, so they take turns."""
    races = [_raced(place, datamap, number, versions, backwards=turn % 2 == 1) for turn in range(3)]
    return [statistics.median(each) for each in zip(*races, strict=True)]


def _raced(
    place: Ground, datamap: DataMap, number: int, versions: int, *, backwards: bool
) -> tuple[float, ...]:
    """Seconds of ours, rclone and s5cmd, raced in this order or `backwards`, for `number` objects of so many versions."""
    tenant = f"b{secrets.token_hex(5)}"
    blue, green = (place.stack["regions"][each] for each in (BLUE, GREEN))
    sets.objects(blue, tenant, number * versions, versions)
    _routes(place, tenant)

    prefix, name = f"tenant-{tenant}", f"{tenant}-{versions}"

    def ours() -> float:
        with closing(registry.mover("s3", place.move(tenant, "s3"), datamap)) as mover:
            return _copied(mover) + _compared(mover)

    racers = [
        ours,
        lambda: peers.rclone(blue["s3"], green["s3"], prefix, f"peer-rclone-{name}"),
        lambda: peers.s5cmd(blue["s3"], green["s3"], prefix, f"peer-s5cmd-{name}"),
    ]
    return _in_turn(racers, backwards=backwards)


def _in_turn(racers: Sequence[Callable[[], float]], *, backwards: bool) -> tuple[float, ...]:
    """What each says, in the order given, though they may have run the other way round."""
    said = [each() for each in (reversed(racers) if backwards else racers)]
    return tuple(reversed(said) if backwards else said)


def _vectors(place: Ground, datamap: DataMap, number: int) -> list[Result]:
    """Vectors beside the SDK in a plain loop."""
    tenant = f"b{secrets.token_hex(5)}"
    blue, green = (place.stack["regions"][each] for each in (BLUE, GREEN))
    sets.vectors(blue, tenant, number)
    _routes(place, tenant)
    with closing(registry.mover("pinecone", place.move(tenant, "pinecone"), datamap)) as mover:
        ours = _copied(mover)
    looped = peers.pinecone_sdk(blue, green, tenant, f"peer-{tenant}")
    return [Result.of("move: vectors", number / ours, number / looped, "SDK in a plain loop", 1.0)]


def _gates(say: Callable[[str], None]) -> list[Result]:
    """10,000 simulated steps a seed: healthy moves taken back, sick steps not noticed; in per cent."""
    began, lanes = time.perf_counter(), min(len(SEEDS), os.cpu_count() or 1)
    # Spawned: this process has threads and connections by now, which a fork would share.
    with ProcessPoolExecutor(lanes, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(simulate, SEEDS))
    for each in near(SEEDS[0]):
        say(f"gates, near the limits: {each.illness}: {each.found} of {each.steps} gone back on")
    say(
        f"gates: seeds {', '.join(map(str, SEEDS))}; p95 from illness to trip "
        f"{max(each.seconds for each in found):.1f} s; simulated in {time.perf_counter() - began:.1f} s"
    )
    return [
        Result(
            "gates: false rollback", "%", round(100 * max(each.false_share for each in found), 3), goal=0.5
        ),
        Result("gates: missed", "%", round(100 * max(each.missed_share for each in found), 3), goal=1.0),
    ]


def _copied(mover: Mover) -> float:
    """Seconds of a whole copy."""
    began, cursor = time.perf_counter(), None
    while True:
        progress = mover.copy(cursor, _SLICE)
        cursor = progress.cursor
        if cursor is None:
            return time.perf_counter() - began


def _compared(mover: Mover) -> float:
    """Seconds of a whole comparison, which must find nothing."""
    began, cursor = time.perf_counter(), None
    while True:
        page = mover.compare(cursor, _SLICE)
        if page.entries:
            raise RuntimeError(f"A fresh copy differs in {len(page.entries)} keys.")
        cursor = page.cursor
        if cursor is None:
            return time.perf_counter() - began


def _routes(place: Ground, tenant: str) -> None:
    for region, other, way in ((BLUE, GREEN, "fwd"), (GREEN, BLUE, "rev")):
        _say(place.dsn[region], _ROUTE, [tenant, BLUE, other, f"mv_{place.name}_{way}"])


@contextmanager
def _scratch(place: Ground, *, schema: bool = True) -> Iterator[str]:
    """An empty database on green's server, for a peer."""
    name = f"{place.name}_peer"
    _admin(place.stack, GREEN, "CREATE DATABASE {} OWNER app", name)
    try:
        dsn = _named(place.app[GREEN], name)
        if schema:
            _say(dsn, (ROOT / "demo" / "platform" / "schema.sql").read_text())
        yield dsn
    finally:
        _admin(place.stack, GREEN, "DROP DATABASE {} WITH (FORCE)", name)


def _named(dsn: str, name: str) -> str:
    return dsn.rsplit("/", 1)[0] + f"/{name}"


def _admin(stack: dict[str, Any], region: str, statement: str, name: str) -> None:
    dsn = stack["servers"][f"postgres-{region}"]["admin"]
    _say(dsn, sql.SQL(statement).format(sql.Identifier(name)))


def _say(dsn: str, statement: Any, parameters: list[Any] | None = None) -> None:
    with closing(psycopg2.connect(dsn)) as line:
        line.autocommit = True
        with line.cursor() as cursor:
            cursor.execute(statement, parameters)
