"""The standing platform change: refused where it can't be right, the same on every run, and nobody is disturbed by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from lifecycle.systems.base import Permanent
from lifecycle.systems.postgresql import drift
from lifecycle.systems.postgresql.eraser import connect
from lifecycle.systems.postgresql.streams import identity, tables
from lifecycle.systems.postgresql.streams.database import Database
from lifecycle.systems.postgresql.verifier import connect as verify
from tests.lifecycle.systems.postgresql.streams.pair import EAST, NEIGHBOUR, TENANT, Pair, Writer, pair
from tests.lifecycle.systems.postgresql.world import erase_all, scope


@pytest.fixture(scope="module")
def prepared(stack: dict[str, Any]) -> Iterator[Pair]:
    """The first region prepared while the application writes; what the drift check said before is in `before`."""
    with pair(stack) as made:
        with pytest.raises(psycopg2.errors.UndefinedColumn):
            made.east.run("SELECT tenant_id FROM chunks")
        made.before = _drift(made)  # type: ignore[attr-defined]
        with Writer(made.east):
            identity.prepare(made.east.mover_dsn, made.datamap)
        yield made


def _drift(p: Pair) -> list[str]:
    return drift.unclassified({"reader_dsn": p.east.reader_dsn}, p.datamap)


def test_rows_that_belong_to_nobody_stop_it(stack: dict[str, Any]) -> None:
    with pair(stack) as p:
        p.east.run("ALTER TABLE chunks ALTER COLUMN document_id DROP NOT NULL")
        p.east.run("INSERT INTO chunks (document_id, position, body) VALUES (NULL, 0, 'whose')")
        with pytest.raises(Permanent, match="1 rows of table chunks belong to no tenant"):
            identity.prepare(p.east.mover_dsn, p.datamap)
        # What an interrupted run left is finished by the next.
        p.east.run("DELETE FROM chunks WHERE document_id IS NULL")
        identity.prepare(p.east.mover_dsn, p.datamap)
        assert tables.unprepared(tables.read(Database(p.east.dsn), p.datamap), EAST) == []


def test_a_database_without_participation_is_refused(stack: dict[str, Any]) -> None:
    with pair(stack) as p:
        p.west.run("DROP SCHEMA lifecycle CASCADE")
        with pytest.raises(Permanent, match=r"install lifecycle\.participation"):
            identity.prepare(p.west.mover_dsn, p.datamap)


def test_every_row_has_its_parents_tenant(prepared: Pair) -> None:
    wrong = "SELECT count(*) FROM chunks c JOIN documents d ON d.id = c.document_id WHERE c.tenant_id <> d.tenant_id"
    assert prepared.east.one(wrong) == 0
    deep = "SELECT count(*) FROM highlights h JOIN chunks c ON c.id = h.chunk_id WHERE h.tenant_id <> c.tenant_id"
    assert prepared.east.one(deep) == 0
    assert tables.unprepared(tables.read(Database(prepared.east.dsn), prepared.datamap), EAST) == []
    assert identity.prepare(prepared.east.mover_dsn, prepared.datamap).done == []


def test_a_parent_that_changes_takes_its_children_along(prepared: Pair) -> None:
    run = prepared.east.run
    for name in ("parent-a", "parent-b"):
        run("INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256) VALUES ('17', %s, 'ada', '', '', '')", [name])  # fmt: skip
    run("UPDATE documents SET tenant_id = '117' WHERE id = 'parent-b'")
    # Whatever an application says, the parent decides.
    run(
        "INSERT INTO chunks (id, document_id, position, body, tenant_id) VALUES (-1, 'parent-a', 0, '', 'wrong')"
    )
    run("INSERT INTO highlights (id, chunk_id, note) VALUES (-1, -1, '')")
    ask = "SELECT (SELECT tenant_id FROM chunks WHERE id = -1), (SELECT tenant_id FROM highlights WHERE id = -1)"
    assert run(ask) == [("17", "17")]
    run("UPDATE chunks SET document_id = 'parent-b' WHERE id = -1")
    assert run(ask) == [("117", "117")]
    run("UPDATE documents SET tenant_id = '1' WHERE id = 'parent-b'")
    assert run(ask) == [("1", "1")]
    run("DELETE FROM highlights WHERE id = -1")
    run("DELETE FROM chunks WHERE id = -1")
    run("DELETE FROM documents WHERE id LIKE 'parent-_'")


def test_a_filtered_publication_lets_other_tenants_write(prepared: Pair) -> None:
    run = prepared.east.run
    run(
        "CREATE PUBLICATION filtered FOR TABLE chunks WHERE (tenant_id = '17'), TABLE queries WHERE (tenant_id = '17')"
    )
    try:
        for table in ("chunks", "queries"):
            run(f"UPDATE {table} SET body = body || '' WHERE tenant_id = %s", [NEIGHBOUR])
        run("DELETE FROM queries WHERE tenant_id = %s AND id = (SELECT min(id) FROM queries WHERE tenant_id = %s)", [NEIGHBOUR, NEIGHBOUR])  # fmt: skip
    finally:
        run("DROP PUBLICATION filtered")


def test_deletes_are_noted_only_while_the_tenant_moves(prepared: Pair) -> None:
    run = prepared.east.run
    for moving, expected in ((False, []), (True, [('["17", "gone"]',)])):
        run(
            "INSERT INTO lifecycle.route (tenant_id, owner, moving) VALUES ('17', %s, %s) "
            "ON CONFLICT (tenant_id) DO UPDATE SET moving = excluded.moving",
            [EAST, moving],
        )
        run("INSERT INTO users VALUES ('17', 'gone', 'm', 'n')")
        run("DELETE FROM users WHERE user_id = 'gone'")
        assert run("SELECT key FROM lifecycle.tombstone WHERE table_name = 'users'") == expected
    run("DELETE FROM lifecycle.route")


def test_the_change_is_no_drift(prepared: Pair) -> None:
    assert _drift(prepared) == prepared.before == []  # type: ignore[attr-defined]


def test_an_erasure_works_as_before(prepared: Pair) -> None:
    place = {"dsn": prepared.east.dsn, "reader_dsn": prepared.east.reader_dsn}
    eraser = connect(place, prepared.datamap)
    verifier = verify(place, prepared.datamap)
    others = prepared.east.one("SELECT count(*) FROM chunks WHERE tenant_id = %s", [NEIGHBOUR])
    asked = scope(TENANT, "bob")
    shapes = eraser.shapes(asked)
    for number, shape in enumerate(shapes):
        eraser.plant(asked, shape, f"cnry{number:028d}")
    found = erase_all(eraser, asked)
    assert found.erased > 0
    assert (
        prepared.east.one("SELECT count(*) FROM documents WHERE tenant_id = '17' AND owner_id = 'bob'") == 0
    )
    assert prepared.east.one("SELECT count(*) FROM chunks c WHERE NOT EXISTS (SELECT FROM documents d WHERE d.id = c.document_id)") == 0  # fmt: skip
    whole = scope(TENANT)
    erase_all(eraser, whole)
    kept = {"audit_logs"}
    for table in tables.read(Database(prepared.east.dsn), prepared.datamap):
        if table.name not in kept:
            assert (
                prepared.east.one(f"SELECT count(*) FROM {table.name} WHERE {table.tenant} = %s", [TENANT])
                == 0
            )
    assert prepared.east.one("SELECT count(*) FROM chunks WHERE tenant_id = %s", [NEIGHBOUR]) == others
    eraser.close()
    verifier.close()
