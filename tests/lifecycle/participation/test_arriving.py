"""What a region says of a write that was made in the other one; rows deleted while their tenant moves."""

from __future__ import annotations

import json
import time

import psycopg2

from lifecycle.participation import Participant, route
from lifecycle.participation.routing import has_arrived
from tests.lifecycle.watchdog.pair import BLUE, GREEN, TENANT, Pair


def _until(pair: Pair, mark: str, said: bool) -> bool:
    deadline = time.monotonic() + 10
    with psycopg2.connect(pair.dsn[GREEN]) as line, line.cursor() as cursor:
        line.autocommit = True
        while has_arrived(cursor, TENANT, mark) is not said:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


def test_not_before_rows_and_objects_are_there(pair: Pair, blue: Participant) -> None:
    with blue.write(TENANT, "ann") as tx:
        version = tx.put("s3", "tenant-17/user-ann/new", "ab" * 32)
    with psycopg2.connect(pair.dsn[GREEN]) as line, line.cursor() as cursor:
        assert not has_arrived(cursor, TENANT, f"{BLUE}:999999")
        assert has_arrived(cursor, TENANT, "")
        assert has_arrived(cursor, TENANT, f"{GREEN}:999999")
        assert route(cursor, "never-moved") is None
    assert _until(pair, tx.mark, False), "the row alone is not enough: its object was not applied"
    pair.ask(
        GREEN,
        "INSERT INTO lifecycle.applied (tenant_id, store, key, version, op) VALUES (%s, 's3', %s, %s, 'put')",
        TENANT,
        "tenant-17/user-ann/new",
        version,
    )
    assert _until(pair, tx.mark, True)


def test_deleted_rows_are_remembered_only_while_the_tenant_moves(pair: Pair) -> None:
    pair.ask(BLUE, "DELETE FROM lifecycle.route")
    pair.ask(
        BLUE,
        "CREATE OR REPLACE TRIGGER gone AFTER DELETE ON notes FOR EACH ROW "
        "EXECUTE FUNCTION lifecycle.note_delete('tenant_id', 'tenant_id', 'id')",
    )
    awkward = 'Größe "1"'
    for note in ("resting", awkward):
        if note == awkward:
            pair.ask(
                BLUE,
                "INSERT INTO lifecycle.route (tenant_id, owner, moving) VALUES (%s, %s, true)",
                TENANT,
                BLUE,
            )
        pair.ask(BLUE, "INSERT INTO notes (tenant_id, id) VALUES (%s, %s)", TENANT, note)
        pair.ask(BLUE, "DELETE FROM notes WHERE id = %s", note)
    found = pair.ask(BLUE, "SELECT table_name, key FROM lifecycle.tombstone WHERE tenant_id = %s", TENANT)
    assert [(table, json.loads(key)) for table, key in found] == [("notes", [TENANT, awkward])]


def test_pruning_spares_a_moving_tenant(pair: Pair) -> None:
    pair.ask(BLUE, "DELETE FROM lifecycle.route")
    pair.ask(
        BLUE, "INSERT INTO lifecycle.route (tenant_id, owner, moving) VALUES (%s, %s, true)", TENANT, BLUE
    )
    for tenant in (TENANT, "resting"):
        pair.ask(
            BLUE,
            "INSERT INTO lifecycle.change (tenant_id, store, key, op, at) "
            "VALUES (%s, 's3', 'old', 'put', now() - interval '30 days')",
            tenant,
        )
    pair.ask(BLUE, "SELECT lifecycle.prune()")
    assert pair.ask(BLUE, "SELECT tenant_id FROM lifecycle.change WHERE key = 'old'") == [(TENANT,)]
