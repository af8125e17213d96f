"""What a plan refuses, by sentence; and what it only names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest

from lifecycle.systems.movable import Finding, Move
from lifecycle.systems.postgresql.streams import preflight
from lifecycle.systems.postgresql.streams.mover import PostgresqlMover
from tests.lifecycle.systems.postgresql.streams.pair import NEIGHBOUR, TENANT, Pair


def _plan(pair: Pair) -> list[Finding]:
    mover = pair.mover()
    try:
        return list(mover.plan())
    finally:
        mover.close()


def _refusals(pair: Pair) -> list[str]:
    return [each.sentence for each in _plan(pair) if each.refuses]


@contextmanager
def _while(pair: Pair, do: tuple[str, str], undo: tuple[str, str]) -> Iterator[None]:
    regions = {"east": pair.east, "west": pair.west}
    regions[do[0]].run(do[1])
    try:
        yield
    finally:
        regions[undo[0]].run(undo[1])


def test_an_unprepared_platform_is_refused_with_the_command(plain: Pair) -> None:
    refused = _refusals(plain)
    assert any("table chunks has no tenant column" in each for each in refused)
    assert any("table queries has a replica identity without the tenant column" in each for each in refused)
    assert all("manage.py datamap prepare --region us-" in each for each in refused if "table " in each)


def test_a_database_is_not_moved_onto_itself(ready: Pair) -> None:
    move = ready.move()
    mover = PostgresqlMover(Move(move.id, move.tenant, move.source, move.source), ready.datamap)
    assert any("the same database" in each.sentence and each.refuses for each in mover.plan())
    mover.close()


def test_room_for_streams_is_asked_again_when_a_moves_turn_comes(
    ready: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    mover = ready.mover()
    try:
        assert mover.room() == ""
        monkeypatch.setattr(preflight, "_MOST", 100_000)
        assert "are free, a move needs 100000; raise it or wait" in mover.room()
        assert sum("are free" in each for each in _refusals(ready)) == 8, "four limits of either database"
    finally:
        mover.close()


def test_nothing_is_refused_on_a_prepared_pair_and_the_rest_is_named(ready: Pair) -> None:
    found = _plan(ready)
    assert [each for each in found if each.refuses] == []
    named = " ".join(each.sentence for each in found)
    for expected in (
        "feedback has no key",
        "5 large objects of documents",
        "user_activity is refreshed",
        "max_slot_wal_keep_size",
    ):
        assert expected in named


CASES = [
    (
        "a_key_that_a_resident_has",
        ("west", "INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256) "
         "SELECT 'acme-eu', 'taken', 'u-1', '', '', ''"),
        ("west", "DELETE FROM documents WHERE id = 'taken'"),
        "1 keys of documents (documents_pkey) are taken by other tenants",
    ),
    (
        "rows_of_the_tenant_on_the_target",
        ("west", "INSERT INTO users VALUES ('17', 'stranger', 'm', 'n')"),
        ("west", "DELETE FROM users WHERE tenant_id = '17'"),
        "already holds rows of this tenant (users)",
    ),
    (
        "numbers_of_one_range",
        ("west", "SELECT setval('platform_ids', 5000)"),
        ("west", "SELECT setval('platform_ids', 1000000000000000)"),
        "both regions give numbers of the same range",
    ),
    (
        "another_definition",
        ("west", "ALTER TABLE queries ADD COLUMN extra text"),
        ("west", "ALTER TABLE queries DROP COLUMN extra"),
        "define tables differently: queries",
    ),
    (
        "rows_that_point_to_another_tenant",
        ("east", "UPDATE messages SET reply_to = (SELECT min(id) FROM messages WHERE tenant_id = '117') "
         "WHERE id = (SELECT max(id) FROM messages WHERE tenant_id = '17')"),
        ("east", "UPDATE messages SET reply_to = NULL WHERE id = (SELECT max(id) FROM messages WHERE tenant_id = '17')"),
        "1 rows of messages and messages belong to different tenants",
    ),
    (
        "a_table_that_nobody_mapped",
        ("east", "CREATE TABLE stars (document_id text REFERENCES documents (id))"),
        ("east", "DROP TABLE stars"),
        "stars points to documents and does not move",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("do", "undo", "sentence"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_would_go_wrong_is_refused(
    ready: Pair, do: tuple[str, str], undo: tuple[str, str], sentence: str
) -> None:
    if sentence.startswith("1 keys"):
        ready.east.run(do[1].replace("'acme-eu'", f"'{TENANT}'"))
    with _while(ready, do, undo):
        assert any(sentence in each for each in _refusals(ready)), _refusals(ready)
    ready.east.run("DELETE FROM documents WHERE id = 'taken'")
    assert _refusals(ready) == []


def test_streams_that_are_there_are_refused(ready: Pair) -> None:
    """TRUNCATE ignores filters; rows that flow already would meet themselves."""
    ready.east.run("CREATE PUBLICATION old FOR TABLE queries")
    ready.east.run("SELECT pg_create_logical_replication_slot('old', 'pgoutput')")
    subscribed = psycopg2.connect(ready.west.mover_dsn)
    subscribed.autocommit = True
    with subscribed.cursor() as cursor:
        assert any("publishes TRUNCATE" in each.sentence and not each.refuses for each in _plan(ready))
        cursor.execute(
            f"CREATE SUBSCRIPTION old_{ready.id} CONNECTION '{ready.east.mover_dsn}' PUBLICATION old "
            "WITH (create_slot = false, slot_name = 'old', enabled = false, copy_data = false)"
        )
        refused = _refusals(ready)
        cursor.execute(f"ALTER SUBSCRIPTION old_{ready.id} SET (slot_name = NONE)")
        cursor.execute(f"DROP SUBSCRIPTION old_{ready.id}")
    subscribed.close()
    ready.east.run("SELECT pg_drop_replication_slot('old')")
    ready.east.run("DROP PUBLICATION old")
    assert any("publishes TRUNCATE" in each for each in refused)
    assert any("already sends this tenant's rows" in each for each in refused)


def test_prepared_transactions_and_locks_are_seen(ready: Pair) -> None:
    with psycopg2.connect(ready.east.dsn) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        # The plan reads catalogs only until it has named the lock.
        assert any("being changed now: messages" in each for each in _refusals(ready))
    other.close()


def test_a_role_without_its_rights_is_named(ready: Pair) -> None:
    move = ready.move()
    sides: list[Any] = [
        type(side)(side.region, {**side.place, "mover_dsn": region.dsn})
        for side, region in zip((move.source, move.target), ready.regions, strict=True)
    ]
    mover = PostgresqlMover(Move(move.id, NEIGHBOUR, *sides), ready.datamap)
    refused = " ".join(each.sentence for each in mover.plan() if each.refuses)
    mover.close()
    assert "lacks membership in pg_create_subscription" in refused
    assert "lacks SET on session_replication_role" in refused
