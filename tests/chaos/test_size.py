"""A large tenant: everything erased, verified and certified, and no worker ever takes more than 400 MiB."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import psycopg2
import pytest
import redis

from bench import sets
from bench.memory import Watch
from lifecycle.systems.pinecone.names import namespace
from tests.lifecycle.trials.live import Live

LIMIT = 400.0  # MiB, of each process of the workers
FULL = {"postgresql": 1_000_000, "s3": 200_000, "pinecone": 100_000, "redis": 100_000, "cloudwatch": 100_000}
FILL = {
    "postgresql": sets.rows,
    "s3": sets.objects,
    "pinecone": sets.vectors,
    "redis": sets.keys,
    "cloudwatch": sets.lines,
}


@contextmanager
def watched(live: Live) -> Iterator[Watch]:
    """Workers at work, their memory sampled from their start to the end."""
    watch = Watch(live.start_workers().pid)
    thread = threading.Thread(target=watch.follow, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.over.set()
        thread.join()


def left(place: dict[str, Any], tenant: str) -> dict[str, int]:
    """What each server still shows of the tenant, asked without any code of ours."""
    connection = psycopg2.connect(place["postgres"])
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM documents WHERE tenant_id = %(t)s)"
            " + (SELECT count(*) FROM chunks WHERE starts_with(document_id, %(t)s))"
            " + (SELECT count(*) FROM queries WHERE tenant_id = %(t)s)"
            " + (SELECT count(*) FROM users WHERE tenant_id = %(t)s)",
            {"t": tenant},
        )
        (rows,) = cursor.fetchone() or (0,)
    connection.close()
    store = place["s3"]
    client = boto3.client(
        "s3", endpoint_url=store["endpoint"], aws_access_key_id=store["key"],
        aws_secret_access_key=store["secret"], region_name="us-east-1",
    )  # fmt: skip
    seen = client.list_object_versions(Bucket=store["bucket"], Prefix=f"tenant-{tenant}/")
    spaces = sets.pinecone_index(place).describe_index_stats().namespaces
    with redis.Redis.from_url(place["redis"]) as keys:
        found = sum(1 for _ in keys.scan_iter(match=f"*:{tenant}:*", count=10_000))
    return {
        "postgresql": rows,
        "s3": len(seen.get("Versions", [])) + len(seen.get("DeleteMarkers", [])),
        "pinecone": int(namespace("tenant-{tenant}", tenant) in spaces),
        "redis": found,
    }


def trial(live: Live, stack: dict[str, Any], out: Path, scale: float, patience: float) -> None:
    """Fills, erases, looks for what is left, checks the certificate and the memory."""
    place = stack["regions"]["us-east-1"]
    tenant, admin = live.tenant(*sets.USERS)
    numbers = {system: FILL[system](place, tenant, int(full * scale)) for system, full in FULL.items()}
    assert all(count > 0 for count in left(place, tenant).values())

    asked = live.ask("erasure", "request", "--tenant", tenant, "--requested-by", admin, timeout=patience)
    with watched(live) as watch:
        for role in ("officer", "legal"):
            live.ask("erasure", "approve", asked["id"], "--as", role, timeout=patience)
        now = live.over(asked["id"], patience)

    assert now["state"] == "completed", now
    for system, number in numbers.items():
        told = now["systems"][system]
        assert told["erased"] + told["anonymised"] >= number, (system, told)
        assert told["residue"] == 0, (system, told)
        assert told["found"] == told["erased"] + told["anonymised"] + told["retained"], (system, told)
    assert now["canaries"]["remaining"] == 0
    assert now["canaries"]["planted"] > 0
    assert not any(left(place, tenant).values()), left(place, tenant)
    assert live.call("erasure", "certificate", asked["id"], "--out", str(out)).returncode == 0
    assert live.call("certificate", "verify", *map(str, sorted(out.iterdir()))).returncode == 0
    print(f"peak memory of one process: {watch.peak:.0f} MiB")
    assert watch.samples > 10
    assert 0 < watch.peak < LIMIT, f"a worker took {watch.peak:.0f} MiB"


@pytest.mark.timeout(120)
def test_a_thousandth_of_a_large_tenant(live: Live, stack: dict[str, Any], tmp_path: Path) -> None:
    trial(live, stack, tmp_path, scale=0.001, patience=100)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_hundredth_of_a_large_tenant(live: Live, stack: dict[str, Any], tmp_path: Path) -> None:
    trial(live, stack, tmp_path, scale=0.01, patience=400)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_a_large_tenant(live: Live, stack: dict[str, Any], tmp_path: Path) -> None:
    trial(live, stack, tmp_path, scale=float(os.environ.get("SIZE_SCALE", "1")), patience=3000)
