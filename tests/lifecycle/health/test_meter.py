"""Windows of requests, and the lines that a real HAProxy sends."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from lifecycle.health.meter import Listener, Meter, Window
from lifecycle.traffic.base import Split
from tests.lifecycle.traffic.edge import BLUE, GREEN, free_port, running


def test_strangers_lines_are_no_requests() -> None:
    meter, port = Meter(), free_port()
    listener = Listener(meter, port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for line in (b"", b"\xff\xfe", b"17 us-east-1 200", b"17 us-east-1 x y -- GET", b"17 b 200 5 -- GET"):
            stranger.sendto(line, ("127.0.0.1", port))
    deadline = time.monotonic() + 3
    while meter.heard("17") is None and time.monotonic() < deadline:
        time.sleep(0.01)
    listener.close()
    assert meter.window("17", "us-east-1", 60, time.monotonic()) == Window(0, 0, [], [])
    assert meter.window("17", "b", 60, time.monotonic()) == Window(1, 0, [5.0], [])


def test_windows_slide_and_begin_where_they_are_told() -> None:
    meter = Meter()
    for second in range(20):
        meter.note("17", "b", 500 if second < 10 else 200, second, "--", "GET", 100.0 + second)
    assert meter.window("17", "b", 5, 119.5).count == 5
    assert meter.window("17", "b", 30, 119.5).errors == 10
    assert meter.window("17", "b", 30, 119.5, since=110.0).errors == 0
    assert max(meter.window("17", "b", 30, 119.5).reads) == 19
    meter.forget("17")
    assert meter.window("17", "b", 30, 119.5).count == 0 and meter.heard("17") is None


def test_a_client_that_leaves_is_no_error_and_a_server_that_does_is() -> None:
    meter = Meter()
    meter.note("17", "b", -1, 5, "CD", "GET", 100.0)
    meter.note("17", "b", 400, 5, "--", "GET", 100.0)
    meter.note("17", "b", -1, 5, "SD", "GET", 100.0)
    meter.note("17", "b", 504, 5, "sH", "GET", 100.0)
    window = meter.window("17", "b", 5, 101.0)
    assert (window.count, window.errors) == (3, 2)


def test_reads_and_writes_are_timed_apart_and_counted_together() -> None:
    meter = Meter()
    for number, method in enumerate(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")):
        meter.note("17", "b", 200, number, "--", method, 100.0)
    meter.note("17", "b", 500, 9, "--", "POST", 100.0)
    assert meter.window("17", "b", 5, 101.0) == Window(7, 1, [0, 1], [2, 3, 4, 5])


def test_what_haproxy_logs_is_counted_by_tenant_and_region(tmp_path: Path) -> None:
    meter = Meter()
    with running(tmp_path) as edge:
        edge.log.close()
        listener, traffic = Listener(meter, edge.shape.log_udp), edge.traffic
        traffic.apply("17", Split(BLUE, GREEN, 100))
        for number in range(10):
            edge.ask("17", f"u{number}")
            edge.ask("18", f"u{number}")
        edge.ask("17", "u", method="PUT")
        edge.regions[GREEN].status = 500
        edge.ask("17", "u")
        deadline = time.monotonic() + 3
        while meter.window("17", GREEN, 60, time.monotonic()).count < 12 and time.monotonic() < deadline:
            time.sleep(0.01)
        listener.close()
        traffic.close()
    window = meter.window("17", GREEN, 60, time.monotonic())
    assert (window.count, window.errors, len(window.reads), len(window.writes)) == (12, 1, 10, 1)
    assert meter.heard("18") is None
