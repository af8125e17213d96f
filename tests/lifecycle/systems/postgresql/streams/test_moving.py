"""A whole move under live writes: forth, the flip, back; nothing loops, nothing is lost, residents are not touched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from demo.stack import control
from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.movable import Move, Side
from lifecycle.systems.postgresql.streams import sequences
from lifecycle.systems.postgresql.streams.database import Database
from lifecycle.systems.postgresql.streams.mover import PostgresqlMover
from tests.lifecycle.systems.postgresql.streams.pair import (
    EAST,
    NEIGHBOUR,
    RESIDENT,
    TENANT,
    WEST,
    Pair,
    Writer,
    compared,
    copied,
    pair,
    snapshot,
)


@pytest.fixture(scope="module")
def mover(ready: Pair) -> Iterator[PostgresqlMover]:
    made = ready.mover()
    yield made
    made.close()


def test_ids_that_cannot_name_a_slot_are_refused(ready: Pair) -> None:
    move = ready.move()
    with pytest.raises(Permanent, match="small letters"):
        PostgresqlMover(Move("Big-1", move.tenant, move.source, move.target), ready.datamap)


def test_the_way_back_waits_for_the_copy(mover: PostgresqlMover) -> None:
    with pytest.raises(Transient, match="not complete"):
        mover.prepare_back()
    assert not mover.preflight_back().ready
    with pytest.raises(Permanent, match="is gone"):
        mover.lag()


def test_it_moves_forth_and_back_under_writes(ready: Pair, mover: PostgresqlMover) -> None:
    others = snapshot(ready.west, [RESIDENT]), snapshot(ready.east, [NEIGHBOUR])
    ready.east.run("INSERT INTO frozen_subjects VALUES ('a-hash')")
    before = mover.fingerprints()
    with Writer(ready.east) as writer:
        copied(mover)
        mover.copy(None, 1)  # once more changes nothing
        mover.prepare_back()
        mover.prepare_back()
        back = mover.preflight_back()
        assert back.ready and back.seconds < 5
        assert compared(mover) == []
    assert writer.written > 20
    _flip(ready, mover, WEST)
    with Writer(ready.west, rate=300):
        assert compared(mover) == []
        assert mover.current() is mover.reverse
    _flip(ready, mover, EAST)
    with Writer(ready.east):
        assert compared(mover) == []
    assert mover.forward.wait(mover.forward.watermark(), 10)
    rows = [snapshot(region, [TENANT]) for region in ready.regions]
    for page in rows:  # large objects have numbers of their own; their content was compared
        page["documents"] = [(row[0].count(","),) for row in page["documents"]]
    assert rows[0] == rows[1]
    assert ready.west.one("SELECT 1 FROM frozen_subjects WHERE subject_hash = 'a-hash'") == 1
    assert (snapshot(ready.west, [RESIDENT]), snapshot(ready.east, [NEIGHBOUR])) == others
    assert mover.forward.conflicts() == mover.reverse.conflicts() == 0
    assert {name: lag.conflicts for name, lag in mover.lags().items()} == {
        mover.forward.name: 0,
        mover.reverse.name: 0,
    }
    assert mover.fingerprints() == before and len(set(before.values())) == 1


def _flip(ready: Pair, mover: PostgresqlMover, to: str) -> None:
    """Without writers: what the watchdog does under its fence."""
    flow = mover.current()
    assert mover.sync_objects(10) == 0
    assert flow.wait(flow.watermark(), 10)
    mover.raise_sequences()
    ready.routes(to)


def test_large_objects_find_their_way_back(ready: Pair, mover: PostgresqlMover) -> None:
    ready.routes(WEST)
    oid = ready.west.one("SELECT lo_from_bytea(0, 'written on green')")
    ready.west.run(
        "INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256, original) VALUES ('17', 'lo', 'ada', '', '', '', %s)",
        [oid],
    )
    ready.west.run("UPDATE documents SET title = 'touched' WHERE tenant_id = '17' AND original IS NOT NULL")
    assert mover.reverse.wait(mover.reverse.watermark(), 10)
    assert mover.sync_objects(10) == 0
    assert compared(mover) == []
    read = "SELECT convert_from(lo_get(original), 'UTF8') FROM documents WHERE id = 'lo'"
    assert ready.east.one(read) == "written on green"
    kept = "SELECT count(*) FROM documents d JOIN pg_largeobject_metadata m ON m.oid = d.original WHERE tenant_id = '17'"
    assert ready.east.one(kept) == ready.west.one(kept) == 6
    ready.routes(EAST)


def test_a_follower_that_stays_away_shows_as_lag(ready: Pair, mover: PostgresqlMover) -> None:
    mover.target.rows(f"ALTER SUBSCRIPTION {mover.forward.name} DISABLE")
    ready.east.run(
        "INSERT INTO queries (tenant_id, user_id, body) SELECT '17', 'ada', 'late' FROM generate_series(1, 500)"
    )
    until = time.monotonic() + 10
    while (lag := mover.lag()).seconds < 0.3 or lag.behind < 10_000:
        assert time.monotonic() < until, lag
        time.sleep(0.05)
    assert not mover.preflight_forth(200).ready
    with pytest.raises(Transient, match="too far behind"):
        from lifecycle.systems.postgresql.streams import compare

        limit, compare._WAIT = compare._WAIT, 0.2
        try:
            compared(mover)
        finally:
            compare._WAIT = limit
    mover.copy(None, 5)  # enables what was switched off
    assert mover.forward.wait(mover.forward.watermark(), 10)
    assert compared(mover) == []


def test_a_way_back_that_a_takeover_switched_off_stays_off(mover: PostgresqlMover) -> None:
    mover.source.rows(f"ALTER SUBSCRIPTION {mover.reverse.name} DISABLE")
    with pytest.raises(Permanent, match="switched off by a takeover"):
        mover.prepare_back()
    assert not mover.preflight_back(200).ready
    mover.source.rows(f"ALTER SUBSCRIPTION {mover.reverse.name} ENABLE")


def test_a_dead_target_keeps_no_log_on_the_source(ready: Pair, mover: PostgresqlMover) -> None:
    """The source's slot goes at once; the rest once the target answers again."""
    asked = mover.move.target.place["mover_dsn"]
    half = PostgresqlMover(
        Move(
            mover.move.id,
            TENANT,
            mover.move.source,
            Side(WEST, {"mover_dsn": asked.rsplit("/", 1)[0] + "/nowhere"}),
        ),
        ready.datamap,
    )
    with pytest.raises(Transient, match="does not answer"):
        half.drop()
    half.close()
    assert mover.forward.slot() is None and mover.reverse.subscribed() is None
    assert mover.reverse.slot() is not None
    mover.drop()
    assert mover.reverse.slot() is None and mover.forward.subscribed() is None


def test_a_throttled_copy_keeps_to_its_rate_and_misses_nothing(stack: dict[str, Any]) -> None:
    with pair(stack) as p:
        p.prepare()
        p.routes(EAST)
        p.east.run(
            "INSERT INTO queries (tenant_id, user_id, body) SELECT '17', 'ada', 'q' || n FROM generate_series(1, 4000) n"
        )
        mover, begun = p.mover(rows_per_second="2000"), time.monotonic()
        with Writer(p.east, rate=50):
            first = mover.copy(None, 0.5)
            assert first.cursor is not None and first.done < 4000
            copied(mover)
            assert time.monotonic() - begun > 1.9
            mover.prepare_back()
            assert compared(mover) == []
        mover.drop()
        mover.clean(mover.move.target)
        assert not any(snapshot(p.west, [TENANT]).values())
        mover.close()


def test_a_throttled_copy_that_was_killed_begins_anew(stack: dict[str, Any]) -> None:
    with pair(stack) as p:
        p.prepare()
        p.routes(EAST)
        mover = p.mover(rows_per_second="10")  # about 16 s, far more than the slice below
        assert mover.copy(None, 2.0).cursor is not None
        from lifecycle.systems.postgresql.streams import throttled

        throttled.stop(mover.move, mover.target)
        again = p.mover(rows_per_second="100000")
        cursor: Any = None
        for _ in range(20):
            try:
                cursor = again.copy(cursor, 2.0).cursor
            except Transient:
                continue
            if cursor is None:
                break
        assert compared(again) == []
        again.drop()
        for each in (mover, again):
            each.close()


def test_sequences_rise_above_what_was_given_in_their_own_range(stack: dict[str, Any]) -> None:
    with pair(stack) as p:
        owner, follower = (Database(r.mover_dsn) for r in p.regions)
        assert sequences.raise_above(owner, follower) == 0  # ranges apart
        p.west.run("SELECT setval('platform_ids', 10)")
        p.east.run("SELECT setval('platform_ids', 7000)")
        assert sequences.raise_above(owner, follower) == 1
        assert p.west.one("SELECT last_value FROM platform_ids") == 8000
        assert sequences.raise_above(owner, follower) == 0
        p.west.run("INSERT INTO queries (id, tenant_id, user_id, body) VALUES (90000, '17', 'ada', '')")
        # An owner that does not answer: the rows alone say how far it was.
        assert sequences.raise_sequences(None, p.west.mover_dsn) == 1
        assert p.west.one("SELECT nextval('platform_ids')") == 91001
        owner.close()
        follower.close()


def test_servers_that_die_in_mid_copy_lose_nothing(stack: dict[str, Any], stack_dir: Path) -> None:
    with pair(stack) as p:
        p.prepare()
        p.routes(EAST)
        p.east.run(
            "INSERT INTO queries (tenant_id, user_id, body) SELECT '17', 'ada', 'q' || n FROM generate_series(1, 30000) n"
        )
        mover = p.mover()
        cursor: Any = mover.copy(None, 0.0).cursor
        for name in ("postgres-us-west-2", "postgres-us-east-1"):
            control.restart(stack_dir, name)
            cursor = _go_on(mover, cursor, 0.2)
        for region in p.regions:
            region.connection = psycopg2.connect(region.dsn)
            region.connection.autocommit = True
        until = time.monotonic() + 60
        while cursor is not None:
            assert time.monotonic() < until
            cursor = _go_on(mover, cursor, 1.0)
        mover.prepare_back()
        with Writer(p.east):
            assert compared(mover) == []
        assert p.west.one("SELECT count(*) FROM queries WHERE tenant_id = '17' AND body LIKE 'q%'") == 30_000
        mover.drop()
        mover.close()


def test_a_tenant_moves_there_and_later_home_again(stack: dict[str, Any]) -> None:
    """What the first move left must not meet the second: outbox, probes, pairs of large objects, sequences."""
    with pair(stack) as p:
        p.prepare()
        p.routes(EAST)
        first = p.mover()
        p.east.run("INSERT INTO lifecycle.change (tenant_id, store, key, op) VALUES ('17', 's3', 'k', 'put')")
        _whole(p, first, WEST)
        p.west.run("INSERT INTO lifecycle.change (tenant_id, store, key, op) VALUES ('17', 's3', 'l', 'put')")
        p.west.run(
            "UPDATE documents SET original = lo_from_bytea(0, 'new') WHERE tenant_id = '17' AND original IS NOT NULL"
        )
        turned = first.move.turned()
        second = PostgresqlMover(Move(f"{p.id}b", TENANT, turned.source, turned.target), p.datamap)
        assert [each.sentence for each in second.plan() if each.refuses] == []
        with Writer(p.west, rate=50):
            _whole(p, second, EAST, clean=False)
        assert compared(second) == []
        assert p.east.run("SELECT origin, key FROM lifecycle.change ORDER BY key") == [
            (EAST, "k"),
            (WEST, "l"),
        ]
        assert second.forward.conflicts() == second.reverse.conflicts() == 0
        second.drop()
        second.clean(second.move.source)
        assert not any(snapshot(p.west, [TENANT]).values())
        for each in (first, second):
            each.close()


def _whole(p: Pair, mover: PostgresqlMover, owner: str, *, clean: bool = True) -> None:
    copied(mover)
    mover.prepare_back()
    assert compared(mover) == []
    _flip(p, mover, owner)
    if clean:
        mover.drop()
        mover.clean(mover.move.source)


def _go_on(mover: PostgresqlMover, cursor: Any, seconds: float) -> Any:
    """One slice, as the engine makes it: what is transient is tried again later."""
    try:
        return mover.copy(cursor, seconds).cursor
    except Transient:
        time.sleep(0.2)
        return cursor
