"""Two sessions that delete the halves of one batch: only what was committed counts, and nobody else's rows go."""

from __future__ import annotations

import psycopg2
import pytest

from lifecycle.systems.base import BatchOver, Item
from lifecycle.systems.postgresql.lanes import LEAST
from tests.lifecycle.systems.postgresql.world import OpenGate, World, fill, found, known

MINE, OTHERS = 2 * LEAST + 400, 50


@pytest.fixture
def many(bare: World) -> World:
    fill(bare, ("1",), ("u-1", "u-12"))
    for tenant, number in (("1", MINE), ("17", OTHERS)):
        bare.run(
            "INSERT INTO queries (tenant_id, user_id, body) SELECT %s, 'lane', 'q' || n FROM generate_series(1, %s) n",
            [tenant, number],
        )
    return bare


def _listed(world: World) -> list[Item]:
    with_lanes = [item for item in found(world.eraser(), known(world, "1")) if item.kind == "queries"]
    assert len(with_lanes) >= MINE
    return with_lanes


def _left(world: World, tenant: str) -> int:
    return int(world.one("SELECT count(*) FROM queries WHERE tenant_id = %s", [tenant]))


def test_a_closed_gate_destroys_in_neither_lane(many: World) -> None:
    items, before = _listed(many), _left(many, "1")
    with pytest.raises(BatchOver):
        many.eraser().erase(known(many, "1"), items, OpenGate(0))
    assert _left(many, "1") == before


@pytest.mark.parametrize("at", [0, -1])
def test_where_one_half_waits_past_the_deadline_only_the_finished_start_counts(many: World, at: int) -> None:
    items, subject, eraser = _listed(many), known(many, "1"), many.eraser()
    blocker = psycopg2.connect(many.dsn)
    with blocker.cursor() as cursor:
        cursor.execute("SELECT FROM queries WHERE id::text = %s FOR UPDATE", [items[at].key.strip('[]"')])
        assert cursor.rowcount == 1
    half = (len(items) + 1) // 2
    if at == 0:
        with pytest.raises(BatchOver):
            eraser.erase(subject, items, OpenGate(3.5))
        assert _left(many, "1") == half
        taken = 0
    else:
        taken = eraser.erase(subject, items, OpenGate(3.5)).taken
        assert taken == half
        assert _left(many, "1") == len(items) - half
    blocker.close()
    assert eraser.erase(subject, items[taken:], OpenGate()).taken == len(items) - taken
    assert _left(many, "1") == 0
    assert _left(many, "17") == OTHERS


def test_both_halves_go_and_no_other_tenants_rows(many: World) -> None:
    items, subject, eraser = _listed(many), known(many, "1"), many.eraser()
    tally = eraser.erase(subject, items, OpenGate())
    assert (tally.taken, tally.erased) == (len(items), len(items))
    assert _left(many, "1") == 0
    assert _left(many, "17") == OTHERS
    assert found(eraser, subject) == [item for item in found(eraser, subject) if item.kind != "queries"]


def test_a_large_object_that_both_halves_point_to_goes_once_and_both_end(many: World) -> None:
    """It came after the list was made, so that the rows themselves take it along."""
    many.run(
        "INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256) "
        "SELECT '1', gen_random_uuid(), 'u-1', 't', 'k' || n, 's' FROM generate_series(1, %s) n",
        [MINE],
    )
    subject, eraser = known(many, "1"), many.eraser()
    items = [item for item in found(eraser, subject) if item.kind == "documents"]
    oid = many.one("SELECT lo_from_bytea(0, 'both')")
    for each in (items[0], items[-1]):
        many.run("UPDATE documents SET original = %s WHERE id::text = %s", [oid, each.key.strip('[]"')])
    taken = 0
    while taken < len(items):
        taken += eraser.erase(subject, items[taken:], OpenGate()).taken
    assert many.one("SELECT count(*) FROM documents WHERE tenant_id = '1'") == 0
    assert many.one("SELECT count(*) FROM pg_largeobject_metadata WHERE oid = %s", [oid]) == 0
