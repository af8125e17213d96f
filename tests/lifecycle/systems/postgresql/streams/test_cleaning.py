"""A side is cleaned only once nothing flows from it and the other side owns; then all of the tenant goes, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lifecycle.systems.base import BatchOver, Permanent
from lifecycle.systems.postgresql.streams.flow import Flow
from lifecycle.systems.postgresql.streams.mover import PostgresqlMover
from tests.lifecycle.systems.postgresql.streams.pair import (
    EAST,
    NEIGHBOUR,
    RESIDENT,
    TENANT,
    WEST,
    Pair,
    copied,
    snapshot,
)


@pytest.fixture(scope="module")
def moved(ready: Pair) -> Iterator[PostgresqlMover]:
    """Copied and followed both ways; green owns."""
    mover = ready.mover()
    copied(mover)
    mover.prepare_back()
    ready.routes(WEST)
    yield mover
    mover.close()


def _counts(pair: Pair) -> tuple[int, int]:
    ask = "SELECT count(*) FROM queries WHERE tenant_id = %s"
    return pair.east.one(ask, [TENANT]), pair.west.one(ask, [TENANT])


def test_green_then_blue_with_a_stream_left_on_is_refused(ready: Pair, moved: PostgresqlMover) -> None:
    before = _counts(ready)
    assert before[0] == before[1] > 0
    for owner, side in ((EAST, moved.move.target), (WEST, moved.move.source)):
        ready.routes(owner)
        with pytest.raises(Permanent, match="Streams that publish this tenant are still there"):
            moved.clean(side)
    moved.forward.drop()
    with pytest.raises(Permanent, match=f"{moved.reverse.name}"):
        moved.clean(moved.move.source)
    assert _counts(ready) == before


def test_a_stream_of_another_name_is_seen(ready: Pair, moved: PostgresqlMover) -> None:
    moved.drop()
    other = Flow("mv_another_fwd", TENANT, moved.source, moved.target)
    other.publish(moved._tables())
    other.keep()
    try:
        with pytest.raises(Permanent, match="mv_another_fwd"):
            moved.clean(moved.move.source)
        other.subscribe(copy=False)
        with pytest.raises(Permanent, match="mv_another_fwd"):
            moved.clean(moved.move.source)
    finally:
        other.drop()


def test_an_unfiltered_publication_with_a_reader_is_seen(ready: Pair, moved: PostgresqlMover) -> None:
    ready.east.run("CREATE PUBLICATION everything FOR TABLE queries")
    ready.east.run("SELECT pg_create_logical_replication_slot('warehouse', 'pgoutput')")
    try:
        with pytest.raises(Permanent, match="warehouse"):
            moved.clean(moved.move.source)
    finally:
        ready.east.run("SELECT pg_drop_replication_slot('warehouse')")
        ready.east.run("DROP PUBLICATION everything")


def test_the_owner_is_never_cleaned(ready: Pair, moved: PostgresqlMover) -> None:
    before = _counts(ready)
    ready.routes(EAST)
    with pytest.raises(Permanent, match="owns the tenant's writes"):
        moved.clean(moved.move.source)
    ready.east.run("DELETE FROM lifecycle.route")
    ready.west.run("DELETE FROM lifecycle.route")
    for side in (moved.move.source, moved.move.target):
        with pytest.raises(Permanent, match="Nobody says that"):
            moved.clean(side)
    assert _counts(ready) == before


def test_it_stops_with_its_batch_and_goes_on(ready: Pair, moved: PostgresqlMover) -> None:
    from tests.lifecycle.systems.postgresql.world import OpenGate

    ready.routes(WEST)
    with pytest.raises(BatchOver):
        moved.clean(moved.move.source, OpenGate(seconds=0))
    assert _counts(ready)[0] > 0


def test_blue_is_cleaned_of_this_tenant_only(ready: Pair, moved: PostgresqlMover) -> None:
    ready.routes(WEST)
    green = snapshot(ready.west, [TENANT, RESIDENT])
    neighbour = snapshot(ready.east, [NEIGHBOUR])
    objects = ready.east.one(
        "SELECT count(*) FROM documents WHERE tenant_id = %s AND original IS NOT NULL", [TENANT]
    )
    there = ready.east.one("SELECT count(*) FROM pg_largeobject_metadata")
    moved.clean(moved.move.source)
    moved.clean(moved.move.source)
    assert not any(snapshot(ready.east, [TENANT]).values())
    assert ready.east.one("SELECT count(*) FROM user_activity WHERE tenant_id = %s", [TENANT]) == 0
    assert ready.east.one("SELECT count(*) FROM pg_largeobject_metadata") == there - objects
    assert ready.east.run("SELECT owner FROM lifecycle.route WHERE tenant_id = %s", [TENANT]) == [(WEST,)]
    assert snapshot(ready.east, [NEIGHBOUR]) == neighbour
    assert snapshot(ready.west, [TENANT, RESIDENT]) == green
    for region in ready.regions:
        assert region.run("SELECT 1 FROM pg_replication_slots WHERE database = current_database()") == []
        assert region.run("SELECT 1 FROM pg_publication") == []
        assert (
            region.run(
                "SELECT 1 FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            == []
        )
        assert (
            region.run("SELECT 1 FROM pg_replication_origin WHERE roname LIKE %s", [f"mv_{ready.id}%"]) == []
        )
