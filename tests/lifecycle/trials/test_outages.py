"""A system that is down: for a while it is waited for, for good it is named, and the others are done."""

from __future__ import annotations

import pytest

from demo.stack import control
from tests.lifecycle.trials.live import Live


@pytest.mark.timeout(240)
def test_down_for_good_is_named_and_retry_finishes(live: Live) -> None:
    tenant, admin = live.tenant("ada", "bob")
    request = live.request(tenant, admin, "ada")
    control.stop(live.run_dir, "redis-us-east-1")
    try:
        live.start_workers()
        failed = live.over(request, 120)
        assert failed["state"] == "failed", failed
        assert "redis" in failed["reason"].lower(), failed["reason"]
        others = {name: each["state"] for name, each in failed["systems"].items() if name != "redis"}
        assert set(others.values()) <= {"erased", "pending_purge", "anonymised"}, others
        assert failed["certificate"] is None
    finally:
        control.start(live.run_dir, "redis-us-east-1")
    live.ask("erasure", "retry", request, "--system", "redis")
    done = live.over(request, 120)
    assert done["state"] == "completed", done
    assert done["systems"]["redis"]["erased"] == done["systems"]["redis"]["found"] > 0


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "server", ["s3-us-east-1", "postgres-us-east-1", "pinecone-us-east-1", "logs", "prometheus-us-east-1"]
)
def test_down_for_two_minutes_is_survived(live: Live, server: str) -> None:
    live.environment["STEP_BACKOFF"] = "20,60,120"
    tenant, admin = live.tenant("ada", "bob")
    request = live.request(tenant, admin, "ada")
    control.stop(live.run_dir, server)
    try:
        live.start_workers()
        live.until(request, lambda now: any(each["error"] for each in now["systems"].values()), 120)
    finally:
        control.start(live.run_dir, server)
    assert live.over(request, 400)["state"] == "completed"
