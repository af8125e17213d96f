"""A write of a tenant: refused where it may not be, kept with its outbox rows where it may."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import psycopg2
import pytest
from psycopg2 import extensions

from lifecycle.participation import Fenced, NotOwner, OutcomeUnknown, Participant, install
from tests.lifecycle.watchdog.pair import BLUE, GREEN, TENANT, Pair

_NOTE = "INSERT INTO notes (tenant_id, id) VALUES (%s, %s)"


def _route(pair: Pair, **columns: Any) -> None:
    """Blue's row of the tenant, with blue as owner unless given."""
    values = {"owner": BLUE, "epoch": 1, "lease_until": "infinity", "soak": "fast", "slot": ""} | columns
    pair.ask(BLUE, "DELETE FROM lifecycle.route WHERE tenant_id = %s", TENANT)
    pair.ask(
        BLUE,
        "INSERT INTO lifecycle.route (tenant_id, owner, epoch, lease_until, soak, slot) VALUES (%s, %s, %s, "
        "CASE %s WHEN 'infinity' THEN 'infinity' WHEN 'over' THEN clock_timestamp() - interval '1s' "
        "ELSE clock_timestamp() + interval '2s' END, %s, %s)",
        TENANT,
        values["owner"],
        values["epoch"],
        values["lease_until"],
        values["soak"],
        values["slot"],
    )


def _write(participant: Participant, note: str, **more: Any) -> None:
    with participant.write(TENANT, "ann") as tx:
        tx.cursor.execute(_NOTE, [TENANT, note])


def test_not_the_owner_is_told_who_is(pair: Pair, blue: Participant) -> None:
    _route(pair, owner=GREEN)
    with pytest.raises(NotOwner) as refused:
        _write(blue, "not-owner")
    assert refused.value.owner == GREEN
    assert "not-owner" not in pair.notes(BLUE)


def test_without_a_lease_nothing_is_written(pair: Pair, blue: Participant) -> None:
    _route(pair, lease_until="over")
    with pytest.raises(Fenced):
        _write(blue, "lease-over")
    assert "lease-over" not in pair.notes(BLUE)


def test_a_lease_that_ends_inside_is_seen_at_the_commit(pair: Pair, blue: Participant) -> None:
    _route(pair, lease_until="short")
    with pytest.raises(Fenced), blue.write(TENANT) as tx:
        tx.cursor.execute(_NOTE, [TENANT, "ended-inside"])
        pair.ask(
            BLUE, "UPDATE lifecycle.route SET lease_until = clock_timestamp() WHERE tenant_id = %s", TENANT
        )
    assert "ended-inside" not in pair.notes(BLUE)


def test_an_epoch_that_changed_without_the_fence_is_seen_at_the_commit(pair: Pair, blue: Participant) -> None:
    _route(pair)
    with pytest.raises(Fenced), blue.write(TENANT) as tx:
        tx.cursor.execute(_NOTE, [TENANT, "other-epoch"])
        pair.ask(BLUE, "UPDATE lifecycle.route SET epoch = epoch + 1 WHERE tenant_id = %s", TENANT)
    assert "other-epoch" not in pair.notes(BLUE)


def test_longer_than_the_limit_is_ended(pair: Pair, blue: Participant) -> None:
    _route(pair, lease_until="short")
    with pytest.raises(Fenced), blue.write(TENANT) as tx:
        tx.cursor.execute(_NOTE, [TENANT, "too-long"])
        tx.cursor.execute("SELECT pg_sleep(1.5)")
    assert "too-long" not in pair.notes(BLUE)


def test_a_failed_statement_that_was_swallowed_is_no_success(pair: Pair, blue: Participant) -> None:
    _route(pair)
    with pytest.raises(Fenced), blue.write(TENANT) as tx:
        tx.cursor.execute(_NOTE, [TENANT, "swallowed"])
        with pytest.raises(psycopg2.Error):
            tx.cursor.execute("SELECT 1/0")
    assert "swallowed" not in pair.notes(BLUE)


def test_an_older_snapshot_is_refused(pair: Pair) -> None:
    def connect() -> extensions.connection:
        connection = psycopg2.connect(pair.dsn[BLUE])
        connection.set_session(isolation_level="REPEATABLE READ")
        return connection

    _route(pair)
    with pytest.raises(psycopg2.Error, match="READ COMMITTED"):
        _write(Participant(BLUE, connect), "snapshot")


def test_a_database_of_another_region_is_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match="us-east-1"):
        install(pair.dsn[BLUE], GREEN)


def test_a_server_stopped_after_its_check_acknowledges_nothing(
    pair: Pair, blue: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease ends while the backend sleeps between the check and the answer to its commit."""
    _route(pair, lease_until="short")
    outcome: list[BaseException] = []
    backend = threading.Event()
    pid: list[int] = []

    def write() -> None:
        try:
            with blue.write(TENANT) as tx:
                tx.cursor.execute(_NOTE, [TENANT, "stopped"])
                # After the pass in the queue of deferred checks: where a stopped server would sleep.
                tx.cursor.execute("INSERT INTO slow VALUES (1)")
                pid.append(tx.cursor.connection.info.backend_pid)
                backend.set()
        except BaseException as error:
            outcome.append(error)

    pair.ask(BLUE, "CREATE TABLE IF NOT EXISTS slow (n int)")
    pair.ask(
        BLUE,
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$",
    )
    pair.ask(BLUE, "DROP TRIGGER IF EXISTS slow ON slow")
    pair.ask(
        BLUE,
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    thread = threading.Thread(target=write)
    thread.start()
    assert backend.wait(5)
    deadline = time.monotonic() + 5
    while not pair.ask(
        BLUE, "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'", pid[0]
    ):
        assert time.monotonic() < deadline
    os.kill(pid[0], signal.SIGSTOP)
    try:
        pair.ask(
            BLUE, "UPDATE lifecycle.route SET lease_until = clock_timestamp() WHERE tenant_id = %s", TENANT
        )
        # Beyond what was known of the lease when the write began.
        while pair.ask(BLUE, "SELECT clock_timestamp() < query_start + interval '2.2s' FROM pg_stat_activity "
                       "WHERE pid = %s", pid[0]) == [(True,)]:  # fmt: skip
            time.sleep(0.05)
    finally:
        os.kill(pid[0], signal.SIGCONT)
    thread.join(10)
    assert len(outcome) == 1
    assert isinstance(outcome[0], OutcomeUnknown | Fenced), outcome


def test_safe_soak_is_unknown_while_the_other_region_does_not_confirm(
    pair: Pair, blue: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifecycle.participation.writing.CONFIRM_MS", 300)
    pair.ask(BLUE, "SELECT pg_create_logical_replication_slot('nobody_reads', 'pgoutput')")
    try:
        for slot in ("nobody_reads", "there_is_none"):
            _route(pair, soak="safe", slot=slot)
            with pytest.raises(OutcomeUnknown):
                _write(blue, f"safe-{slot}")
    finally:
        pair.ask(BLUE, "SELECT pg_drop_replication_slot('nobody_reads')")


def test_safe_soak_answers_once_the_other_region_has_it(pair: Pair, blue: Participant) -> None:
    _route(pair, soak="safe", slot=pair.stream(GREEN), lease_until="short")
    took = []
    for number in range(20):
        began = time.monotonic()
        with blue.write(TENANT) as tx:
            assert tx.dual
            tx.cursor.execute(_NOTE, [TENANT, f"safe-{number}"])
        took.append(time.monotonic() - began)
        assert f"safe-{number}" in pair.notes(GREEN)
        pair.ask(
            BLUE,
            "UPDATE lifecycle.route SET lease_until = clock_timestamp() + interval '2s' WHERE tenant_id = %s",
            TENANT,
        )
    assert sorted(took)[10] < 0.5


def test_a_tenant_that_never_moved_writes_and_leaves_its_outbox_rows(pair: Pair, blue: Participant) -> None:
    pair.ask(BLUE, "DELETE FROM lifecycle.route WHERE tenant_id = %s", TENANT)
    with blue.write(TENANT, "ann") as tx:
        tx.cursor.execute(_NOTE, [TENANT, "plain"])
        first = tx.put("s3", "tenant-17/user-ann/doc", "ab" * 32)
        second = tx.delete("pinecone", '["tenant-17", "doc#0"]')
        assert not tx.dual
    assert second > first
    rows = pair.ask(
        BLUE,
        "SELECT user_id, store, op, version FROM lifecycle.change WHERE tenant_id = %s ORDER BY seq DESC LIMIT 2",
        TENANT,
    )
    assert rows == [("ann", "pinecone", "delete", second), ("ann", "s3", "put", first)]
    assert pair.ask(BLUE, "SELECT count(*) FROM lifecycle.write_pass") == [(0,)]
    assert tx.mark.startswith(f"{BLUE}:")


def test_a_lease_does_not_hinder_who_holds_it(pair: Pair, blue: Participant) -> None:
    _route(pair, lease_until="short")
    _write(blue, "leased")
    assert "leased" in pair.notes(BLUE)


def test_an_idle_connection_that_the_server_ended_costs_no_write(pair: Pair, blue: Participant) -> None:
    _route(pair)
    with blue.write(TENANT) as tx:
        pid = tx.cursor.connection.info.backend_pid
    pair.ask(BLUE, "SELECT pg_terminate_backend(%s, 2000)", pid)
    _write(blue, "after-restart")
    assert "after-restart" in pair.notes(BLUE)


def test_a_fence_waits_for_16_writers_and_lets_none_in(pair: Pair, blue: Participant) -> None:
    """No row that was acknowledged lies behind the fence, none is kept that was not acknowledged."""
    _route(pair)
    kept: list[str] = []
    refused: list[str] = []

    def write(name: str) -> None:
        for number in range(1000):
            try:
                with blue.write(TENANT) as tx:
                    tx.cursor.execute(_NOTE, [TENANT, f"{name}-{number}"])
                    time.sleep(0.02)
            except NotOwner as error:
                refused.append(error.owner)
                return
            kept.append(f"{name}-{number}")

    threads = [threading.Thread(target=write, args=(f"fence-{each}",)) for each in range(16)]
    for each in threads:
        each.start()
    while len(kept) < 100:
        time.sleep(0.01)
    with psycopg2.connect(pair.dsn[BLUE]) as line, line.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        began = time.monotonic()
        cursor.execute("SELECT pg_advisory_xact_lock(lifecycle.tenant_lock(%s))", [TENANT])
        waited = time.monotonic() - began
        cursor.execute("SELECT id FROM notes WHERE id LIKE 'fence-%%'", [])
        before = {row[0] for row in cursor.fetchall()}
        cursor.execute(
            "UPDATE lifecycle.route SET owner = %s, epoch = 2 WHERE tenant_id = %s", [GREEN, TENANT]
        )
    for each in threads:
        each.join(10)
    assert refused == [GREEN] * 16
    assert set(kept) == before == {note for note in pair.notes(BLUE) if note.startswith("fence-")}
    assert waited < 1.0
