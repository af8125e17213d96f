"""A tenant's numbers from a real Prometheus, and its silence."""

from __future__ import annotations

import secrets
import time
from typing import Any

import httpx
import pytest

from lifecycle.health import prometheus
from lifecycle.systems.analytics.remote_write import HEADERS, one_sample
from lifecycle.systems.base import Permanent, Transient
from tests.lifecycle.traffic.edge import BLUE, free_port


def test_a_dead_prometheus_is_silence() -> None:
    with pytest.raises(Transient, match="does not answer"):
        prometheus.read(f"http://127.0.0.1:{free_port()}", "17", BLUE)
    with pytest.raises(Permanent, match="http"):
        prometheus.read("file:///etc/passwd", "17", BLUE)


def test_a_tenant_that_it_never_saw_has_no_age(stack: dict[str, Any]) -> None:
    seen = prometheus.read(stack["regions"][BLUE]["prometheus"], 'nobody"} or {a="', BLUE)
    assert seen == prometheus.Seen(0.0, 0.0, None, None)


def test_numbers_are_those_of_the_window(stack: dict[str, Any]) -> None:
    address, tenant, now = stack["regions"][BLUE]["prometheus"], f"t{secrets.token_hex(4)}", int(time.time())

    def write(name: str, at: int, value: float, **labels: str) -> None:
        body = one_sample({"__name__": name, "tenant": tenant, "region": BLUE, **labels}, at * 1000, value)
        httpx.post(f"{address}/api/v1/write", content=body, headers=HEADERS, timeout=5).raise_for_status()

    for second in range(60, -1, -10):
        passed = 60 - second
        write("rag_requests_total", now - second, passed * 9, status="200")
        write("rag_requests_total", now - second, passed, status="500")
        for limit, share in (("0.05", 0.5), ("0.1", 1.0), ("+Inf", 1.0)):
            write("rag_request_seconds_bucket", now - second, passed * 10 * share, le=limit)
    seen = prometheus.read(address, tenant, BLUE, seconds=40)
    assert seen.count == pytest.approx(400, rel=0.3)
    assert seen.errors == pytest.approx(40, rel=0.3)
    assert seen.p95_ms == pytest.approx(95, abs=1)
    assert seen.age_s is not None and seen.age_s < 15
