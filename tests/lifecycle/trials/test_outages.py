"""A system that is down: for a while it is waited for, for good it is named, and the others are done."""

from __future__ import annotations

import secrets
import time

import pytest

from demo.stack import control
from tests.lifecycle.trials.live import Live

NOTHING_YET = "Approved; it starts by itself."
SERVERS = (
    "s3-us-east-1",
    "postgres-us-east-1",
    "pinecone-us-east-1",
    "redis-us-east-1",
    "logs",
    "prometheus-us-east-1",
    "datadog",
    "s3-vault",
)


@pytest.mark.timeout(240)
def test_down_for_good_is_named_and_retry_finishes(live: Live) -> None:
    # What is seeded in the other systems stays: nobody of another trial has this name, it would be a mention there.
    user = f"u{secrets.token_hex(4)}"
    tenant, admin = live.tenant(user, f"o{user}", systems=("postgresql", "s3", "redis"))
    request = live.request(tenant, admin, user)
    control.stop(live.run_dir, "redis-us-east-1")
    try:
        live.start_workers()
        failed = live.over(request, 120)
        assert failed["state"] == "failed", failed
        assert "redis" in failed["reason"].lower(), failed["reason"]
        others = {name: each["state"] for name, each in failed["systems"].items() if name != "redis"}
        assert set(others) == {"postgresql", "s3"}
        assert set(others.values()) <= {"erased", "pending_purge", "anonymised"}, others
        assert failed["certificate"] is None
    finally:
        control.start(live.run_dir, "redis-us-east-1")
    live.ask("erasure", "retry", request, "--system", "redis")
    done = live.over(request, 120)
    assert done["state"] == "completed", done
    assert done["systems"]["redis"]["erased"] == done["systems"]["redis"]["found"] > 0


def down(live: Live, request: str, server: str, seconds: float) -> list[str]:
    """Keeps a server down for so long while workers work; what the systems said meanwhile."""
    said: set[str] = set()
    control.stop(live.run_dir, server)
    ends = time.monotonic() + seconds
    try:
        live.start_workers()
        while time.monotonic() < ends:
            now = live.status(request)
            said |= {each["error"] for each in now["systems"].values()} | {now["reason"]}
            time.sleep(10)
    finally:
        control.start(live.run_dir, server)
    return sorted(said - {"", NOTHING_YET})


@pytest.mark.chaos
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("server", SERVERS)
def test_down_for_two_minutes_is_survived(live: Live, server: str) -> None:
    live.environment["STEP_BACKOFF"] = "20,60,120"
    tenant, admin = live.tenant("ada", "bob")
    request = live.request(tenant, admin, "ada")
    said = down(live, request, server, 120)
    print(server, said)
    assert said, "no system noticed that its server was down"
    done = live.over(request, 600)  # beside other work an erasure has taken five minutes on two cores
    assert done["state"] == "completed", done
    for name, each in done["systems"].items():
        assert each["residue"] == 0, (name, each)
        assert each["found"] == each["erased"] + each["anonymised"] + each["retained"], (name, each)
    assert len([each for each in live.ask("certificate", "list") if each["request"] == request]) == 1
