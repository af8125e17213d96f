"""Faults planted on the follower under live writes: every one is found and named, nothing else is, all are mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from lifecycle.systems.base import Permanent
from lifecycle.systems.movable import Kind
from lifecycle.systems.postgresql.streams import changed, cleaning, compare
from lifecycle.systems.postgresql.streams.mover import PostgresqlMover
from tests.lifecycle.systems.postgresql.streams.pair import (
    NEIGHBOUR,
    RESIDENT,
    TENANT,
    Pair,
    Writer,
    compared,
    copied,
    snapshot,
)

EACH = 200


@pytest.fixture(scope="module")
def followed(ready: Pair) -> Iterator[PostgresqlMover]:
    """Tenant 17 with 20,000 queries more, copied and followed both ways."""
    ready.east.run(
        "INSERT INTO queries (tenant_id, user_id, body) SELECT %s, 'ada', 'q' || n FROM generate_series(1, 20000) n",
        [TENANT],
    )
    mover = ready.mover()
    copied(mover)
    mover.prepare_back()
    yield mover
    mover.close()


def _queries(pair: Pair, offset: int) -> list[int]:
    rows = pair.east.run(
        "SELECT id FROM queries WHERE tenant_id = %s AND body LIKE 'q%%' ORDER BY id OFFSET %s LIMIT %s",
        [TENANT, offset, EACH],
    )
    return [row[0] for row in rows]


def _plant(mover: PostgresqlMover, *statements: tuple[str, list[Any]]) -> None:
    """As damage would be: nothing of it is sent to blue, no trigger sees it."""
    with cleaning.under_origin(mover.target, mover.move) as cursor:
        for statement, params in statements:
            cursor.execute(statement, params)


def _deleted_by_owner(ready: Pair, mover: PostgresqlMover, ids: list[int]) -> list[tuple[Any, ...]]:
    rows = ready.east.run(
        "SELECT id, tenant_id, user_id, body, asked_at FROM queries WHERE id = ANY(%s)", [ids]
    )
    ready.east.run("DELETE FROM queries WHERE id = ANY(%s)", [ids])
    assert mover.forward.wait(mover.forward.watermark(), 10)
    return rows


def test_nothing_is_found_while_writes_go_on(ready: Pair, followed: PostgresqlMover) -> None:
    with Writer(ready.east, rate=300) as writer:
        for _ in range(3):
            assert compared(followed) == []
    assert writer.written > 20


def test_a_thousand_faults_of_all_kinds_are_found_and_mended(ready: Pair, followed: PostgresqlMover) -> None:
    others = snapshot(ready.west, [RESIDENT]), snapshot(ready.east, [NEIGHBOUR])
    missing, stale, corrupted, gone = (_queries(ready, n) for n in (100, 9_900, 14_000, 16_000))
    resurrected = _deleted_by_owner(ready, followed, gone)
    with Writer(ready.east):
        insert = "INSERT INTO queries (id, tenant_id, user_id, body, asked_at) VALUES (%s, %s, %s, %s, %s)"
        _plant(
            followed,
            ("DELETE FROM queries WHERE id = ANY(%s)", [missing]),
            ("UPDATE queries SET body = 'an older text' WHERE id = ANY(%s)", [stale]),
            ("UPDATE queries SET body = body || chr(0x200b) WHERE id = ANY(%s)", [corrupted]),
            *((insert, list(row)) for row in resurrected),
            *((insert, [5 * 10**15 + n, TENANT, "ada", "mine", "2026-01-01"]) for n in range(EACH)),
        )
        found = compared(followed)
        expected = {
            Kind.MISSING: missing,
            Kind.STALE: [*stale, *corrupted],
            Kind.RESURRECTED: gone,
            Kind.FOREIGN: [5 * 10**15 + n for n in range(EACH)],
        }
        assert Counter(each.kind for each in found) == {kind: len(ids) for kind, ids in expected.items()}
        for kind, ids in expected.items():
            assert {each.key for each in found if each.kind is kind} == {f'["{n}"]' for n in ids}
        assert followed.repair(found) == 5 * EACH
        assert compared(followed) == []
    assert (snapshot(ready.west, [RESIDENT]), snapshot(ready.east, [NEIGHBOUR])) == others
    assert followed.forward.conflicts() == followed.reverse.conflicts() == 0
    # Nothing of the mending went back to blue.
    assert followed.reverse.wait(followed.reverse.watermark(), 10)
    assert ready.east.one("SELECT count(*) FROM queries WHERE id >= %s", [5 * 10**15]) == 0
    assert compared(followed) == []


def test_rows_without_a_key_and_keys_of_two_columns(ready: Pair, followed: PostgresqlMover) -> None:
    ready.east.run("INSERT INTO feedback SELECT %s, 'bob', 1, 'twice' FROM generate_series(1, 2)", [TENANT])
    assert followed.forward.wait(followed.forward.watermark(), 10)
    _plant(
        followed,
        ("DELETE FROM feedback WHERE ctid = (SELECT min(ctid) FROM feedback WHERE comment = 'twice')", []),
        ("INSERT INTO feedback VALUES (%s, 'eve', 1, 'never said')", [TENANT]),
        ("UPDATE users SET email = 'wrong' WHERE tenant_id = %s AND user_id = 'eve'", [TENANT]),
        ("DELETE FROM access_controls WHERE tenant_id = %s AND user_id = 'cyd'", [TENANT]),
    )
    found = compared(followed)
    assert Counter((each.item, each.kind) for each in found) == {
        ("feedback", Kind.MISSING): 1,
        ("feedback", Kind.FOREIGN): 1,
        ("users", Kind.STALE): 1,
        ("access_controls", Kind.MISSING): 4,
    }
    followed.repair(found)
    assert compared(followed) == []
    assert ready.west.one("SELECT count(*) FROM feedback WHERE comment = 'twice'") == 2


def test_a_large_object_is_compared_by_its_content(ready: Pair, followed: PostgresqlMover) -> None:
    oid = ready.east.one("SELECT min(original::bigint) FROM documents WHERE tenant_id = %s", [TENANT])
    key = ready.east.one("SELECT id FROM documents WHERE original = %s", [oid])
    ready.east.run("SELECT lo_put(%s, 3, 'changed')", [oid])
    found = compared(followed)
    assert [(each.item, each.kind, each.key) for each in found] == [("documents", Kind.STALE, f'["{key}"]')]
    assert followed.sync_objects(10) == 0
    assert compared(followed) == []


def test_only_given_keys_are_looked_at(ready: Pair, followed: PostgresqlMover) -> None:
    one, other = _queries(ready, 0)[:2]
    _plant(followed, ("UPDATE queries SET body = 'x' WHERE id = ANY(%s)", [[one, other]]))
    looked = compare.compare_keys(followed.forward, followed._tables(), {"queries": [f'["{one}"]', '["0"]']})
    assert [(each.kind, each.key) for each in looked] == [(Kind.STALE, f'["{one}"]')]
    followed.repair(compared(followed))
    assert compared(followed) == []


def test_few_moves_of_one_database_note_changes_at_once(ready: Pair, followed: PostgresqlMover) -> None:
    others = [f"mv_other{number}_chk" for number in range(changed.AT_ONCE)]
    for name in others:
        ready.east.run("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
    try:
        assert "at most 4 compare at once" in followed.watch_changes()
        with pytest.raises(Permanent):
            followed.compare_changed()
        ready.east.run("SELECT pg_drop_replication_slot(%s)", [others.pop()])
        assert followed.watch_changes() == ""
        assert followed.watch_changes() == "", "whoever has its place keeps it"
        followed.watch_no_more()
    finally:
        for name in others:
            ready.east.run("SELECT pg_drop_replication_slot(%s)", [name])


def test_what_changed_since_is_looked_at_and_nothing_else(ready: Pair, followed: PostgresqlMover) -> None:
    with pytest.raises(Permanent):
        followed.compare_changed()
    assert followed.watch_changes() == ""
    untouched, touched = _queries(ready, 30)[:2]
    ready.east.run("UPDATE queries SET body = body || '!' WHERE id = %s", [touched])
    ready.east.run("UPDATE users SET full_name = 'Ada' WHERE tenant_id IN ('17', '117') AND user_id = 'ada'")
    ready.east.run("INSERT INTO feedback VALUES (%s, 'dan', 2, 'since')", [TENANT])
    ready.east.run("DELETE FROM api_keys WHERE tenant_id = %s AND user_id = 'dan'", [TENANT])
    assert followed.forward.wait(followed.forward.watermark(), 10)
    _plant(
        followed,
        ("UPDATE queries SET body = 'x' WHERE id = ANY(%s)", [[touched, untouched]]),
        ("DELETE FROM feedback WHERE comment = 'since'", []),
        ("UPDATE users SET full_name = 'Eve' WHERE tenant_id = %s AND user_id = 'ada'", [TENANT]),
    )
    found = followed.compare_changed()
    assert {(each.item, each.kind) for each in found} == {
        ("queries", Kind.STALE),
        ("feedback", Kind.MISSING),
        ("users", Kind.STALE),
    }
    assert [each.key for each in found if each.item == "queries"] == [f'["{touched}"]']
    with Writer(ready.east):
        assert followed.compare_changed() == []
    followed.repair([*found, *compared(followed)])
    assert compared(followed) == []


def test_the_stream_forth_stays_while_the_source_owns(followed: PostgresqlMover) -> None:
    assert followed.end_forth() is False
    assert followed.forward.stands()


def test_our_own_writes_hold_no_origin_while_nothing_is_written(
    ready: Pair, followed: PostgresqlMover
) -> None:
    _plant(followed, ("UPDATE users SET full_name = 'X' WHERE tenant_id = %s AND user_id = 'dan'", [TENANT]))
    assert followed.repair(compared(followed))
    names = ready.west.run("SELECT roname::text FROM pg_replication_origin")
    assert names, "the subscription has one"
    assert not [name for (name,) in names if "own" in name]
