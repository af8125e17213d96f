"""Before a move advances green's own Prometheus is asked too: its silence, stale numbers or errors keep the gate closed."""

from __future__ import annotations

import secrets
import time
from typing import Any

import httpx
import pytest

from demo.platform.cast import WEST
from lifecycle.migration import gates
from lifecycle.models import Environment, Migration
from lifecycle.systems.analytics.remote_write import HEADERS, one_sample
from tests.lifecycle.traffic.edge import free_port


def moving(monkeypatch: pytest.MonkeyPatch, address: str, tenant: str = "nobody", **own: Any) -> Migration:
    """A move to the west, not stored, whose green has a Prometheus at `address`."""
    monkeypatch.setenv("GREEN_PROMETHEUS", address)
    places = {"analytics": {"prometheus": "env:GREEN_PROMETHEUS"}} if address else {}
    green = Environment(id=f"{tenant}@{WEST}", tenant_id=tenant, region=WEST, places=places)
    return Migration(id="mig_gate", tenant_id=tenant, target=green, settings=own)


def counted(address: str, tenant: str, *, errors: int, ended: int = 0, region: str = WEST) -> None:
    """Ten requests a second of the tenant, `errors` of them failed, until `ended` seconds ago."""
    now = int(time.time())
    for second in range(60 + ended, ended - 1, -5):
        passed = 60 + ended - second
        for status, number in (("200", 10 - errors), ("500", errors)):
            labels = {"__name__": "rag_requests_total", "tenant": tenant, "region": region, "status": status}
            body = one_sample(labels, (now - second) * 1000, passed * number)
            httpx.post(
                f"{address}/api/v1/write", content=body, headers=HEADERS, timeout=10
            ).raise_for_status()


def test_a_green_without_a_prometheus_or_with_a_dead_one_does_not_advance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "No Prometheus is named" in gates.closed([gates.prometheus(moving(monkeypatch, ""))])
    dead = gates.prometheus(moving(monkeypatch, f"http://127.0.0.1:{free_port()}"))
    assert (dead.ok, dead.value) == (False, None)
    assert dead.why == "Green's Prometheus does not answer."
    asked_not_to = moving(monkeypatch, f"http://127.0.0.1:{free_port()}", prometheus=False)
    assert gates.prometheus(asked_not_to).ok


def test_what_it_never_saw_saw_elsewhere_or_long_ago_does_not_advance(
    monkeypatch: pytest.MonkeyPatch, stack: dict[str, Any]
) -> None:
    address = stack["regions"][WEST]["prometheus"]
    never, elsewhere, before = (f"t{secrets.token_hex(4)}" for _ in range(3))
    counted(address, elsewhere, errors=0, region="us-east-1")
    counted(address, before, errors=0, ended=120)
    for tenant in (never, elsewhere):
        assert "no measurements of this tenant" in gates.prometheus(moving(monkeypatch, address, tenant)).why
    assert "last measured this tenant" in gates.prometheus(moving(monkeypatch, address, before)).why


def test_errors_that_it_counted_keep_the_gate_closed_and_health_opens_it(
    monkeypatch: pytest.MonkeyPatch, stack: dict[str, Any]
) -> None:
    address = stack["regions"][WEST]["prometheus"]
    sick, well = (f"t{secrets.token_hex(4)}" for _ in range(2))
    counted(address, sick, errors=2)
    counted(address, well, errors=0)
    gate = gates.prometheus(moving(monkeypatch, address, sick))
    assert not gate.ok and "failed requests" in gate.why
    assert gates.prometheus(moving(monkeypatch, address, sick, gates={"error_rate": 0.5})).ok
    gate = gates.prometheus(moving(monkeypatch, address, well))
    assert (gate.ok, gate.value, gate.why) == (True, 0.0, "")
