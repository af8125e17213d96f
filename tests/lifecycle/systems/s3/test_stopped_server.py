"""A server that is stopped while deletions are on their way refuses them when it wakes after the batch's end."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from demo.stack import control
from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import BatchOver, Scope, Subject
from lifecycle.systems.s3.eraser import connect
from tests.lifecycle.systems.s3.conftest import made
from tests.lifecycle.systems.s3.tools import Open, found

SERVER = "s3-us-east-1"


def refused(log: Path, start: int, bucket: str) -> int:
    """How many requests to the bucket the server refused since `start` bytes, by its own access log."""
    with log.open() as lines:
        lines.seek(start)
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return sum(entry["status"] == 403 and entry["bucket"] == bucket for entry in entries)


def test_what_was_sent_before_the_stop_is_refused_after_it(
    datamap: DataMap, stack: dict[str, Any], stack_dir: Path
) -> None:
    bucket = next(made(stack["regions"]["us-east-1"]["s3"], locked=False))
    for number in range(12):
        bucket.put(f"tenant-stop/user-u/{number}")
    scope = Scope(Subject("stop"))
    eraser = connect(bucket.place, datamap)
    items = found(eraser, scope)
    eraser._size = 2  # six requests
    log = Path(stack["servers"][SERVER]["access_log"])
    start = log.stat().st_size
    control.signal_server(stack_dir, SERVER, signal.SIGSTOP)
    try:
        gate = Open(seconds=2.5)
        with pytest.raises(BatchOver):
            eraser.erase(scope, items, gate)
        assert gate.remaining() < 0.2
    finally:
        while gate.remaining():
            time.sleep(0.02)
        control.signal_server(stack_dir, SERVER, signal.SIGCONT)
    ends = time.monotonic() + 20
    while refused(log, start, bucket.place["bucket"]) < 6:
        assert time.monotonic() < ends, "the server did not refuse what had been sent"
        time.sleep(0.05)
    assert len(bucket.entries("tenant-stop/")) == 12
    eraser.close()
