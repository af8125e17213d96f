"""The local Pinecone lies about time as the real one does, can be disturbed, and keeps indexes and backups apart."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pinecone import Pinecone
from pinecone.errors import exceptions as errors

from tests.demo.servers.pinecone_calls import all_namespaces, ids, post, seed, vector
from tests.demo.servers.running import Running, until

# Honesty about time


@pytest.fixture
def lag(server: Running) -> Iterator[None]:
    """Lags that end only when a test sets them to 0."""
    server.trial(lag_ms=60_000, stats_lag_ms=60_000)
    yield
    server.trial(lag_ms=0, stats_lag_ms=0)


@pytest.mark.usefixtures("lag")
def test_reads_lag_behind_writes_and_counts_lag_behind_reads(server: Running, index: Any, ns: str) -> None:
    written = post(server, "/vectors/upsert", {"namespace": ns, "vectors": [vector("a"), vector("b")]})
    lsn = int(written.headers["x-pinecone-request-lsn"])
    query = {"namespace": ns, "topK": 5, "vector": [1.0] * 8}
    early = post(server, "/query", query)
    assert early.json()["matches"] == []
    assert int(early.headers["x-pinecone-max-indexed-lsn"]) < lsn
    assert all_namespaces(index, ns) == []
    server.trial(lag_ms=0)
    late = post(server, "/query", query)
    assert int(late.headers["x-pinecone-max-indexed-lsn"]) == lsn
    assert len(late.json()["matches"]) == 2
    assert ns not in index.describe_index_stats().namespaces, "counts lag behind reads"
    server.trial(stats_lag_ms=0)
    assert index.describe_index_stats().namespaces[ns].vector_count == 2
    server.trial(lag_ms=60_000, stats_lag_ms=60_000)
    index.delete(ids=["a", "b"], namespace=ns)
    assert ids(index, ns) == ["a", "b"], "a delete is not visible at once"
    server.trial(lag_ms=0)
    assert ids(index, ns) == []
    assert index.describe_index_stats().namespaces[ns].vector_count == 2, "counts lag behind reads"
    server.trial(stats_lag_ms=0)
    assert ns not in index.describe_index_stats().namespaces


def test_a_lag_ends_by_itself(server: Running, index: Any, ns: str) -> None:
    server.trial(lag_ms=300)
    try:
        started = time.monotonic()
        index.upsert(vectors=[vector("a")], namespace=ns)
        until(lambda: ids(index, ns) == ["a"])
        assert time.monotonic() - started >= 0.3
    finally:
        server.trial(lag_ms=0)


@pytest.mark.usefixtures("lag")
def test_a_delete_by_filter_also_takes_what_is_not_visible_yet(server: Running, index: Any, ns: str) -> None:
    index.upsert(vectors=[vector("a", user="u"), vector("b", user="v")], namespace=ns)
    index.delete(filter={"user": "u"}, namespace=ns)
    server.trial(lag_ms=0)
    assert ids(index, ns) == ["b"]


def test_the_sdk_sees_the_sequence_numbers(index: Any, ns: str) -> None:
    written = index.upsert(vectors=[vector("a")], namespace=ns)
    assert written.response_info.lsn_committed == 1
    assert index.query(id="a", top_k=1, namespace=ns).response_info.lsn_reconciled == 1


def test_deleted_records_stay_in_the_trash_where_no_call_reaches(
    server: Running, index: Any, ns: str
) -> None:
    seed(index, ns, vector("gone", mail="person@example.org"))
    index.delete_namespace(name=ns)
    lines = [json.loads(line) for line in (server.state / "trash.jsonl").read_text().splitlines()]
    kept = [line for line in lines if line["namespace"] == ns]
    assert [line["id"] for line in kept] == ["gone"]
    assert kept[0]["metadata"] == {"mail": "person@example.org"}
    assert kept[0]["deleted_at"] < kept[0]["purge_at"]


def test_the_access_log_tells_when_and_how_many_but_no_id(server: Running, index: Any, ns: str) -> None:
    seed(index, ns, vector("secret-id"), vector("secret-id-2"))
    index.delete(ids=["secret-id", "secret-id-2"], namespace=ns)
    index.delete_namespace(name=ns)
    entries = [entry for entry in server.log() if entry["namespace"] == ns]
    deletes = [entry for entry in entries if entry["path"] == "/vectors/delete"]
    assert [(entry["ids"], entry["status"], entry["index"]) for entry in deletes] == [(2, 200, "rag")]
    assert deletes[0]["received"] <= deletes[0]["time"]
    assert entries[-1]["path"] == "/namespaces/{namespace}"
    assert "secret-id" not in (server.state / "access.log").read_text()


# Faults


def test_injected_faults_change_nothing_and_the_sdk_gets_through(
    server: Running, index: Any, ns: str
) -> None:
    server.trial(fail={"status": 503, "count": 1, "path": "/vectors/upsert"})
    assert post(server, "/vectors/upsert", {"namespace": ns, "vectors": [vector("a")]}).status_code == 503
    server.trial(fail={"status": 503, "count": 1, "path": "/vectors/upsert"})
    seed(index, ns, vector("b"))
    assert ids(index, ns) == ["b"]
    assert server.http.post("/_trial", json={"lag_ms": 0}).status_code == 404
    with pytest.raises(httpx.HTTPStatusError):
        server.trial(unknown=1)


def test_too_many_requests_or_deletes_get_a_429_with_retry_after(
    server: Running, index: Any, ns: str
) -> None:
    seed(index, ns, *[vector(f"v{i}") for i in range(30)])
    server.trial(rate_per_s=1)
    try:
        refused: list[Any] = []
        until(lambda: _collect_refusal(server, refused))
    finally:
        server.trial(rate_per_s=0)
    assert refused[0].headers["Retry-After"] == "1"
    assert refused[0].json()["code"] == 8
    server.trial(delete_records_per_s=1)
    try:
        first = post(server, "/vectors/delete", {"namespace": ns, "ids": [f"v{i}" for i in range(10)]})
        second = post(server, "/vectors/delete", {"namespace": ns, "ids": [f"v{i}" for i in range(10, 20)]})
    finally:
        server.trial(delete_records_per_s=0)
    assert (first.status_code, second.status_code) == (200, 429)
    assert len(ids(index, ns)) == 20


def _collect_refusal(server: Running, refused: list[Any]) -> bool:
    answer = post(server, "/describe_index_stats", {})
    if answer.status_code == 429:
        refused.append(answer)
    return bool(refused)


def test_a_hanging_server_holds_the_effect_back_too(server: Running, index: Any, ns: str) -> None:
    seed(index, ns, vector("a"))
    server.trial(hang_s=0.5, hang_path="/vectors/delete")
    try:
        started = time.monotonic()
        index.delete(ids=["a"], namespace=ns)
        assert time.monotonic() - started >= 0.5
    finally:
        server.trial(hang_s=0)
    entry = [
        entry for entry in server.log() if entry["namespace"] == ns and entry["path"] == "/vectors/delete"
    ][-1]
    assert entry["time"] > entry["received"]


# Control plane


def test_indexes_are_apart_protected_and_deletable(client: Pinecone, index: Any, ns: str) -> None:
    name = f"second-{uuid.uuid4().hex[:6]}"
    made = client.indexes.create(
        name=name,
        deployment={"deployment_type": "managed", "cloud": "aws", "region": "us-west-2"},
        schema={"fields": {"_values": {"type": "dense_vector", "dimension": 3, "metric": "dotproduct"}}},
    )
    assert str(made.host).startswith("http://127.0.0.1:")
    assert {item.name for item in client.indexes.list()} >= {"rag", name}
    second = client.index(name)
    second.upsert(vectors=[{"id": "only-there", "values": [1, 2, 3]}], namespace=ns)
    assert ids(second, ns) == ["only-there"]
    assert ids(index, ns) == []
    client.indexes.configure(name, deletion_protection="enabled")
    with pytest.raises(errors.ForbiddenError):
        client.indexes.delete(name)
    assert ids(second, ns) == ["only-there"]
    client.indexes.configure(name, deletion_protection="disabled")
    client.indexes.delete(name)
    assert not client.indexes.exists(name)
    with pytest.raises(errors.NotFoundError):
        second.describe_index_stats()


def test_index_names_and_dimensions_are_checked(server: Running) -> None:
    spec = {"serverless": {"cloud": "aws", "region": "us-east-1"}}
    for body, status in (
        ({"name": "rag", "dimension": 8, "spec": spec}, 409),
        ({"name": "Bad_Name", "dimension": 8, "spec": spec}, 400),
        ({"name": "big", "dimension": 20_001, "spec": spec}, 400),
        ({"name": "odd", "dimension": 8, "metric": "manhattan", "spec": spec}, 400),
    ):
        answer = post(server, "/indexes", body)
        assert answer.status_code == status
        assert answer.json()["error"]["message"]


def test_a_backup_outlives_deletion_until_it_is_deleted_itself(client: Pinecone, index: Any, ns: str) -> None:
    seed(index, ns, vector("kept", user="u1"))
    backup = client.backups.create(index_name="rag", name="nightly")
    index.delete(ids=["kept"], namespace=ns)
    assert client.backups.describe(backup_id=backup.backup_id).status == "Ready"
    assert backup.backup_id in {item.backup_id for item in client.backups.list(index_name="rag")}
    name = f"restored-{uuid.uuid4().hex[:6]}"
    client.create_index_from_backup(name=name, backup_id=backup.backup_id)
    restored = client.index(name)
    assert ids(restored, ns) == ["kept"]
    assert [job.target_index_name for job in client.restore_jobs.list()].count(name) == 1
    client.indexes.delete(name)
    client.backups.delete(backup_id=backup.backup_id)
    with pytest.raises(errors.NotFoundError):
        client.backups.describe(backup_id=backup.backup_id)


def test_it_is_fast_enough_not_to_bind_a_benchmark(server: Running, index: Any, ns: str) -> None:
    names = [f"doc{i:05d}#0" for i in range(5_000)]
    batches = [names[start : start + 1_000] for start in range(0, len(names), 1_000)]
    for batch in batches:
        index.upsert(vectors=[vector(name) for name in batch], namespace=ns)
    before = server.cpu_seconds()
    assert ids(index, ns) == names
    listed = server.cpu_seconds()
    for batch in batches:
        index.delete(ids=batch, namespace=ns)
    deleted = server.cpu_seconds()
    assert listed - before < 0.5, "listing costs the server more than 0.1 ms an id"
    assert deleted - listed < 0.5, "deleting costs the server more than 0.1 ms an id"
