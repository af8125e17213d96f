"""A batch ends at its deadline on the server's side, too, and commits only before it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psycopg2
import pytest

from lifecycle.systems.base import BatchOver, Transient
from lifecycle.systems.postgresql.session import Session
from tests.lifecycle.systems.postgresql.world import OpenGate, World, fill, found, known


@pytest.fixture
def small(bare: World) -> World:
    fill(bare, ("1",), ("u-1", "u-12"))
    return bare


def test_a_closed_gate_destroys_nothing(small: World) -> None:
    subject = known(small, "1", "u-1")
    eraser = small.eraser()
    items = found(eraser, subject)
    with pytest.raises(BatchOver):
        eraser.erase(subject, items, OpenGate(0))
    assert len(found(eraser, subject)) == len(items)


def test_a_statement_that_waits_past_the_deadline_is_ended_by_the_server(small: World) -> None:
    subject = known(small, "1", "u-1")
    eraser = small.eraser()
    items = found(eraser, subject)
    blocker = psycopg2.connect(small.dsn)
    with blocker.cursor() as cursor:
        cursor.execute("LOCK TABLE highlights IN SHARE MODE")
    began = time.monotonic()
    with pytest.raises((BatchOver, Transient)):
        eraser.erase(subject, [item for item in items if item.kind == "highlights"], OpenGate(0.5))
    assert time.monotonic() - began < 3
    blocker.close()
    assert (
        small.one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        )
        == 1
    )
    assert len(found(eraser, subject)) == len(items)


def test_work_that_ends_late_is_not_committed(small: World) -> None:
    """The check before the commit runs in the server, on the server's clock."""
    session = Session(small.dsn)
    gate = OpenGate(0.6)
    gate.check = lambda: None  # type: ignore[method-assign]
    with pytest.raises(BatchOver), session.batch(gate) as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0; SET LOCAL transaction_timeout = 0")
        cursor.execute("DELETE FROM feedback")
        time.sleep(0.8)
    assert small.one("SELECT count(*) FROM feedback") == 4


_STOPPED = """
import sys
from tests.lifecycle.systems.postgresql.world import OpenGate
from lifecycle.systems.postgresql.session import Session
gate = OpenGate(1.5)
with Session(sys.argv[1]).batch(gate) as cursor:
    cursor.execute("DELETE FROM feedback")
    print("deleted", flush=True)
    sys.stdin.readline()
"""


def test_a_worker_that_was_stopped_commits_nothing_when_it_wakes(small: World) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", _STOPPED, small.dsn],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert worker.stdout is not None
    assert worker.stdin is not None
    assert worker.stdout.readline() == b"deleted\n"
    os.kill(worker.pid, signal.SIGSTOP)
    assert _until(
        lambda: (
            small.one(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lifecycle-eraser' AND datname = current_database()"
            )
            == 0
        )
    )
    os.kill(worker.pid, signal.SIGCONT)
    worker.communicate(b"\n", timeout=10)
    assert worker.returncode != 0
    assert small.one("SELECT count(*) FROM feedback") == 4


def test_a_killed_backend_is_a_transient_error_and_the_next_batch_goes_on(small: World) -> None:
    subject = known(small, "1", "u-1")
    eraser = small.eraser()
    items = found(eraser, subject)
    pid = eraser.session.connection().info.backend_pid
    admin = psycopg2.connect(small.dsn)
    lock = admin.cursor()
    lock.execute("LOCK TABLE highlights IN SHARE MODE")
    threading.Timer(0.3, lambda: small.run("SELECT pg_terminate_backend(%s)", [pid])).start()
    with pytest.raises(Transient):
        eraser.erase(subject, items, OpenGate(5))
    admin.close()
    assert eraser.erase(subject, items, OpenGate()).taken == len(items)
    assert found(eraser, subject) == []


def _until(condition: object, seconds: float = 8) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False
