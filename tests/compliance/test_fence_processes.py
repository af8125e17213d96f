"""The fence against a worker in another process: stopped and woken, or killed, inside a batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from compliance import audit
from compliance.actions import holds
from compliance.actors import Actor
from compliance.models import AuditEvent, FenceBatch
from tests.compliance import building
from tests.compliance.conftest import raw, until

pytestmark = pytest.mark.django_db(transaction=True)

# Destroys (writes a line) every 20 ms inside one batch, each time after it asked the fence.
WORKER = """
import sys, time, django
django.setup()
from django.db import connection
connection.settings_dict["NAME"] = sys.argv[1]
from compliance import fence, pseudonyms
subject = pseudonyms.of_user("acme", "u-1")
try:
    with fence.batch(tenant_id="acme", subject_pseudonym=subject, category="", system="s3", case_id="er-x", seconds=4.0) as gate:
        with open(sys.argv[2], "a", buffering=1) as log:
            while True:
                gate.check()
                log.write(f"{time.time()}\\n")
                time.sleep(0.02)
except (fence.HoldInForce, fence.PastDeadline) as stop:
    sys.exit(7 if isinstance(stop, fence.PastDeadline) else 8)
"""

# Stays for ever in a transaction that has recorded something: as a process that is stopped there.
RECORDER = """
import sys, time, django
django.setup()
from django.db import connection, transaction
connection.settings_dict["NAME"] = sys.argv[1]
from compliance import audit
from compliance.actors import SYSTEM
with transaction.atomic():
    audit.record("trial.began", actor=SYSTEM)
    open(sys.argv[2], "w").write("recorded\\n" * 4)
    time.sleep(600)
"""


@pytest.fixture
def legal(transactional_db: None) -> Actor:
    building.tenant()
    return building.people()["legal"]


@contextmanager
def working(log: Path, program: str = WORKER) -> Iterator[subprocess.Popen[bytes]]:
    name = str(connection.settings_dict["NAME"])
    worker = subprocess.Popen([sys.executable, "-c", program, name, str(log)], env={**os.environ})
    try:
        until(lambda: log.exists() and len(log.read_text().splitlines()) > 3, 30)
        yield worker
    finally:
        worker.kill()
        worker.wait(10)


def place(legal: Actor) -> float:
    """Places the hold; seconds it took."""
    began = time.monotonic()
    holds.place(actor=legal, tenant_id="acme", user="u-1", case_reference="C", type="litigation")
    return time.monotonic() - began


def database_is_past(batch: FenceBatch) -> bool:
    with raw() as cursor:
        cursor.execute("SELECT clock_timestamp() > %s", [batch.deadline])
        return cursor.fetchone() == (True,)


def test_a_stopped_worker_that_wakes_destroys_nothing(legal: Actor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with working(log) as worker:
        worker.send_signal(signal.SIGSTOP)
        assert place(legal) < 10
        returned = time.time()
        assert database_is_past(FenceBatch.objects.get())
        worker.send_signal(signal.SIGCONT)
        assert worker.wait(10) == 7
    # At most the one send between the worker's last question and its stop; the server's own deadline refuses that one.
    late = [line for line in log.read_text().splitlines() if float(line) > returned]
    assert len(late) <= 1 and FenceBatch.objects.get().closed_at is None


def test_a_killed_workers_batch_counts_until_its_deadline(legal: Actor, tmp_path: Path) -> None:
    with working(tmp_path / "log") as worker:
        worker.kill()
        worker.wait(10)
        assert place(legal) < 10
        assert database_is_past(FenceBatch.objects.get())


def test_a_process_that_is_stopped_while_it_records_keeps_nobody_waiting(
    legal: Actor, tmp_path: Path
) -> None:
    with working(tmp_path / "log", RECORDER) as recorder:
        recorder.send_signal(signal.SIGSTOP)
        assert place(legal) < 10
    assert not AuditEvent.objects.filter(verb="trial.began").exists()
    assert AuditEvent.objects.filter(verb="hold.in_force").count() == 1
    assert audit.verify() == []
