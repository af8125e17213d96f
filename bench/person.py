"""One person from the request to the completed certificate, by real workers; and how much memory these take."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User

from bench.memory import Watch
from bench.report import Result
from compliance.actions import deciding
from compliance.actors import person
from compliance.models import ErasureRequest
from demo.platform import own_rows
from demo.platform.cast import Customer
from demo.platform.seed import everything
from demo.stack.place import CHECKOUT
from lifecycle.erasure import intake
from lifecycle.models import Step

MEMORY_LIMIT = 400.0  # MiB, of each worker
PATIENCE = 180.0
_OVER = {"completed", "partially_completed", "failed", "rejected", "cancelled", "retained"}


def run(stack: dict[str, Any], run_dir: Path) -> list[Result]:
    """Erases one of two users of a new tenant. Raises RuntimeError where it does not end completed."""
    tenant = Customer(f"b{secrets.token_hex(5)}", "Bench of one", "us-east-1", users=("ada", "bob"))
    own_rows.enrol(tenant)
    everything.seed(stack, [tenant])
    with _workers(run_dir) as watch:
        began = time.perf_counter()
        filed = _file(tenant)
        state = _wait(filed, began + PATIENCE)
        seconds = time.perf_counter() - began
    if state != "completed":
        raise RuntimeError(f"The erasure of one person ended as {state}.")
    step = Step.objects.get(run__subject=filed.pk, name="certify")
    return [
        Result("one person, to completed", "s", round(seconds, 2)),
        Result("certificate", "s", round(step.busy_seconds, 2)),
        Result("peak memory of a worker", "MiB", round(watch.peak, 1), goal=MEMORY_LIMIT),
    ]


def _file(tenant: Customer) -> ErasureRequest:
    engineer, officer = (
        person(User.objects.get(username=name), via="shell") for name in ("engineer", "officer")
    )
    filed = intake.request(actor=engineer, tenant_id=tenant.id, user="ada", requested_by=tenant.admin)
    deciding.approve(filed, actor=officer, digest=filed.digest)
    return filed


def _wait(filed: ErasureRequest, ends: float) -> str:
    while time.perf_counter() < ends:
        state: str = ErasureRequest.objects.values_list("state", flat=True).get(pk=filed.pk)
        if state in _OVER:
            return state
        time.sleep(0.1)
    return state


@contextmanager
def _workers(run_dir: Path) -> Iterator[Watch]:
    """A cluster of workers, ready to work, watched from its start to its end."""
    log = (run_dir / "bench-workers.log").open("ab")
    cluster = subprocess.Popen(
        [sys.executable, "manage.py", "qcluster"],
        cwd=CHECKOUT,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    watch = Watch(cluster.pid)
    thread = threading.Thread(target=watch.follow, daemon=True)
    thread.start()
    try:
        watch.wait_settled()
        yield watch
    finally:
        watch.over.set()
        thread.join()
        os.killpg(cluster.pid, signal.SIGTERM)
        try:
            cluster.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(cluster.pid, signal.SIGKILL)
            cluster.wait()
        log.close()
