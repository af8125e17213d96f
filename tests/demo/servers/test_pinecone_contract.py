"""The local Pinecone answers the official SDK as the real one does: every call, every limit, every lie."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pinecone import Pinecone
from pinecone.errors import exceptions as errors

from tests.demo.servers.running import KEY, Running

# msgspec, under the SDK, crashes the interpreter when two threads build a decoder at once.
SDK_LOCK = threading.Lock()
READER = "reader-key"
LAG_MS = 100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("--reader-key", READER, "--lag-ms", str(LAG_MS), "--stats-lag-ms", "100")
    with Running("demo.servers.pinecone", tmp_path_factory.mktemp("pinecone"), *options) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Running) -> Pinecone:
    with SDK_LOCK:
        made = Pinecone(api_key=KEY, host=server.url)
        made.indexes.describe("rag")
        return made


@pytest.fixture(scope="module")
def index(client: Pinecone) -> Any:
    with SDK_LOCK:
        made = client.index("rag")
        made.describe_index_stats()
        return made


@pytest.fixture
def ns() -> str:
    return f"tenant-{uuid.uuid4().hex[:8]}"


def vector(record_id: str, direction: int = 0, **metadata: Any) -> dict[str, Any]:
    values = [0.0] * 8
    values[direction] = 1.0
    return {"id": record_id, "values": values, "metadata": metadata}


def until(check: Callable[[], bool], seconds: float = 5) -> None:
    """Poll until `check` holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.02)


def ids(index: Any, namespace: str, prefix: str | None = None) -> list[str]:
    return [item.id for page in index.list(namespace=namespace, prefix=prefix) for item in page.vectors]


def seed(index: Any, namespace: str, *vectors: dict[str, Any]) -> None:
    index.upsert(vectors=list(vectors), namespace=namespace)
    until(lambda: len(ids(index, namespace)) == len({item["id"] for item in vectors}))


def post(server: Running, path: str, body: Any, key: str = KEY) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, headers={"Api-Key": key})


# Refusals


def test_a_wrong_key_is_refused_on_both_planes(server: Running) -> None:
    for path, message in (("/vectors/list", "message"), ("/indexes", "error")):
        answer = httpx.get(f"{server.url}{path}", headers={"Api-Key": "wrong"})
        assert answer.status_code == 401
        assert message in answer.json()
    with SDK_LOCK, pytest.raises(errors.UnauthorizedError):
        Pinecone(api_key="wrong", host=server.url).indexes.describe("rag")


def test_a_reader_key_reads_and_changes_nothing(server: Running, index: Any, ns: str) -> None:
    seed(index, ns, vector("a"))
    with SDK_LOCK:
        reader = Pinecone(api_key=READER, host=server.url).index("rag")
    assert ids(reader, ns) == ["a"]
    for path, body in (
        ("/vectors/delete", {"namespace": ns, "deleteAll": True}),
        ("/vectors/upsert", {"namespace": ns, "vectors": [vector("b")]}),
        ("/vectors/update", {"namespace": ns, "id": "a", "setMetadata": {"x": 1}}),
        ("/namespaces", {"name": "other"}),
        ("/indexes", {"name": "other"}),
    ):
        assert post(server, path, body, READER).status_code == 403
    assert httpx.delete(f"{server.url}/namespaces/{ns}", headers={"Api-Key": READER}).status_code == 403
    assert ids(index, ns) == ["a"]


WRONG_BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/vectors/upsert", {"vectors": [vector(f"v{i}") for i in range(1001)]}),
    ("/vectors/upsert", {"vectors": []}),
    ("/vectors/upsert", {"vectors": [vector("x" * 513)]}),
    ("/vectors/upsert", {"vectors": [vector("")]}),
    ("/vectors/upsert", {"vectors": [vector("é")]}),
    ("/vectors/upsert", {"vectors": [{"id": "a", "values": [1.0, 2.0]}]}),
    ("/vectors/upsert", {"vectors": [{"id": "a", "values": [0.0] * 8}]}),
    ("/vectors/upsert", {"vectors": [vector("a", text="x" * 41_000)]}),
    ("/vectors/upsert", {"vectors": [vector("a", nothing=None)]}),
    ("/vectors/upsert", {"vectors": [vector("a", nested={"b": 1})]}),
    ("/vectors/upsert", {"vectors": [vector("a", numbers=[1, 2])]}),
    ("/vectors/upsert", {"vectors": [vector(f"v{i}", text="x" * 30_000) for i in range(80)]}),
    ("/vectors/delete", {"ids": [f"v{i}" for i in range(1001)]}),
    ("/vectors/delete", {"ids": []}),
    ("/vectors/delete", {}),
    ("/vectors/delete", {"filter": {}}),
    ("/vectors/delete", {"ids": ["a"], "deleteAll": True}),
    ("/vectors/delete", {"ids": ["a"], "filter": {"t": "x"}}),
    ("/vectors/delete", {"deleteAll": True, "filter": {"t": "x"}}),
    ("/vectors/delete", {"filter": {"t": {"$like": "x"}}}),
    ("/vectors/delete", {"filter": {"$or": []}}),
    ("/vectors/delete", {"filter": {"t": {"$gt": "x"}}}),
    ("/query", {"topK": 10_001, "vector": [1.0] * 8}),
    ("/query", {"topK": 0, "vector": [1.0] * 8}),
    ("/query", {"topK": 1, "vector": [1.0] * 3}),
    ("/query", {"topK": 1, "vector": [1.0] * 8, "id": "a"}),
    ("/query", {"topK": 1}),
    ("/vectors/update", {"id": "a", "filter": {"t": "x"}, "setMetadata": {"x": 1}}),
    ("/vectors/fetch_by_metadata", {"filter": {"t": None}}),
    ("/describe_index_stats", {"filter": {"t": "x"}}),
]


@pytest.mark.parametrize("number", range(len(WRONG_BODIES)))
def test_what_exceeds_a_limit_is_refused_and_changes_nothing(
    server: Running, index: Any, ns: str, number: int
) -> None:
    path, body = WRONG_BODIES[number]
    answer = post(server, path, {**body, "namespace": ns})
    assert answer.status_code == 400
    assert answer.json()["code"] == 3
    assert _all_namespaces(index, ns) == []


def test_a_list_page_holds_at_most_100_ids_and_tokens_are_checked(server: Running) -> None:
    for query in ("limit=101", "limit=0", "paginationToken=%ff"):
        answer = httpx.get(f"{server.url}/vectors/list?{query}", headers={"Api-Key": KEY})
        assert answer.status_code == 400


def test_deleting_from_a_missing_namespace_is_a_404_that_can_be_switched(
    server: Running, index: Any, ns: str
) -> None:
    with pytest.raises(errors.NotFoundError):
        index.delete(ids=["a"], namespace=ns)
    with pytest.raises(errors.NotFoundError):
        index.delete_namespace(name=ns)
    with pytest.raises(errors.NotFoundError):
        index.describe_namespace(name=ns)
    server.trial(missing_namespace=200)
    try:
        index.delete(ids=["a"], namespace=ns)
    finally:
        server.trial(missing_namespace=404)


# Data


def test_a_record_comes_back_as_float32_with_its_metadata(index: Any, ns: str) -> None:
    values = [0.1, 1 / 3, -2.5, 1e-7, 123456.789, 0.0, 7, 0.30000001192092896]
    metadata = {"tenant_id": "1*", "page": 3, "draft": True, "tags": ["a", "b"], "name": "Zoë"}
    record = {
        "id": "d*/1#0",
        "values": values,
        "metadata": metadata,
        "sparse_values": {"indices": [1, 5], "values": [0.5, 0.25]},
    }
    assert index.upsert(vectors=[record], namespace=ns).upserted_count == 1
    until(lambda: bool(index.fetch(ids=["d*/1#0"], namespace=ns).vectors))
    found = index.fetch(ids=["d*/1#0", "none"], namespace=ns).vectors
    assert set(found) == {"d*/1#0"}
    assert found["d*/1#0"].metadata == metadata
    assert found["d*/1#0"].values == pytest.approx(values, rel=1e-6)
    assert found["d*/1#0"].values[0] == 0.1
    assert found["d*/1#0"].sparse_values.indices == [1, 5]
    index.upsert(vectors=[{"id": "copy", "values": found["d*/1#0"].values}], namespace=ns)
    until(lambda: "copy" in ids(index, ns))
    assert index.fetch(ids=["copy"], namespace=ns).vectors["copy"].values == found["d*/1#0"].values


def test_ids_are_listed_in_bitwise_order_page_by_page_while_records_come_and_go(index: Any, ns: str) -> None:
    names = [f"doc{i}#{j}" for i in range(60) for j in range(4)] + [
        "Zebra",
        "a_b",
        "az",
        "a/b",
        "a",
        "~",
        "A b",
        "1*",
    ]
    seed(index, ns, *[vector(name) for name in names])
    assert ids(index, ns) == sorted(names, key=lambda name: name.encode())
    assert ids(index, ns, "doc1#") == ["doc1#0", "doc1#1", "doc1#2", "doc1#3"]
    first = index.list_paginated(namespace=ns, limit=100)
    assert len(first.vectors) == 100
    assert first.pagination.next
    gone = [item.id for item in first.vectors]
    index.delete(ids=gone, namespace=ns)
    until(lambda: len(ids(index, ns)) == len(names) - 100)
    index.upsert(vectors=[vector(gone[0])], namespace=ns)
    until(lambda: len(ids(index, ns)) == len(names) - 99)
    assert ids(index, ns) == sorted({*names} - set(gone[1:]), key=lambda name: name.encode())
    rest = index.list_paginated(namespace=ns, limit=100, pagination_token=first.pagination.next)
    assert rest.vectors[0].id > gone[-1]


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"user": "1"}, {"a"}),
    ({"user": {"$eq": "17"}}, {"b"}),
    ({"user": {"$ne": "1"}}, {"b", "c", "d"}),
    ({"user": {"$in": ["1", "17"]}}, {"a", "b"}),
    ({"user": {"$nin": ["1", "17"]}}, {"c", "d"}),
    ({"page": {"$gt": 1}}, {"b", "c"}),
    ({"page": {"$gte": 2, "$lt": 3}}, {"b"}),
    ({"page": {"$lte": 1}}, {"a"}),
    ({"draft": True}, {"a"}),
    ({"draft": 1}, {"b"}),
    ({"tags": "x"}, {"c"}),
    ({"tags": {"$in": ["y", "none"]}}, {"c"}),
    ({"tags": {"$exists": True}}, {"c"}),
    ({"user": {"$exists": False}}, {"d"}),
    ({"$and": [{"page": {"$gt": 0}}, {"user": "1"}]}, {"a"}),
    ({"$or": [{"user": "1"}, {"tags": "y"}]}, {"a", "c"}),
    ({"user": "1", "page": 2}, set()),
]


def test_filters_select_what_they_name(index: Any, ns: str) -> None:
    seed(
        index,
        ns,
        vector("a", user="1", page=1, draft=True),
        vector("b", user="17", page=2, draft=1),
        vector("c", user="117", page=3, tags=["x", "y"]),
        vector("d"),
    )
    for condition, expected in FILTERS:
        found = index.query(vector=[1.0] * 8, top_k=10, namespace=ns, filter=condition)
        assert {match.id for match in found.matches} == expected, condition
        assert set(index.fetch_by_metadata(filter=condition, namespace=ns).vectors) == expected, condition
    page = index.fetch_by_metadata(filter={"page": {"$gte": 1}}, namespace=ns, limit=2)
    assert list(page.vectors) == ["a", "b"]
    page = index.fetch_by_metadata(
        filter={"page": {"$gte": 1}}, namespace=ns, limit=2, pagination_token=page.pagination.next
    )
    assert list(page.vectors) == ["c"]
    assert page.pagination is None


def test_queries_rank_by_nearness_and_stay_in_their_namespace(index: Any, ns: str) -> None:
    seed(index, ns, vector("x", 0), vector("y", 1), {"id": "xy", "values": [1.0, 0.5, 0, 0, 0, 0, 0, 0]})
    seed(index, f"{ns}7", vector("twin", 0))
    found = index.query(vector=vector("", 0)["values"], top_k=2, namespace=ns, include_values=True)
    assert [match.id for match in found.matches] == ["x", "xy"]
    assert found.matches[0].score == pytest.approx(1.0)
    assert found.matches[0].values[0] == 1.0
    assert [match.id for match in index.query(id="y", top_k=1, namespace=ns).matches] == ["y"]
    assert index.query(id="missing", top_k=1, namespace=ns).matches == []


def test_deletes_by_ids_filter_and_all_leave_others_alone(index: Any, ns: str) -> None:
    seed(index, ns, *[vector(f"d{i}", user="u1" if i % 2 else "u11") for i in range(8)])
    seed(index, f"{ns}7", vector("d0", user="u1"))
    index.delete(ids=["d0", "never-there"], namespace=ns)
    until(lambda: "d0" not in ids(index, ns))
    index.delete(filter={"user": {"$eq": "u1"}}, namespace=ns)
    until(lambda: ids(index, ns) == ["d2", "d4", "d6"])
    index.delete(delete_all=True, namespace=ns)
    until(lambda: ids(index, ns) == [])
    assert ids(index, f"{ns}7") == ["d0"]
    assert index.describe_namespace(name=ns).name == ns


def test_updates_merge_metadata(index: Any, ns: str) -> None:
    seed(index, ns, vector("a", user="1", page=1), vector("b", user="1", page=2))
    index.update(id="a", namespace=ns, set_metadata={"page": 9}, values=[2.0] * 8)
    until(lambda: index.fetch(ids=["a"], namespace=ns).vectors["a"].metadata == {"user": "1", "page": 9})
    assert index.fetch(ids=["a"], namespace=ns).vectors["a"].values == [2.0] * 8
    index.update(id="missing", namespace=ns, set_metadata={"page": 9})
    changed = index.update(filter={"user": "1"}, namespace=ns, set_metadata={"user": "anon"})
    assert changed.matched_records == 2
    until(lambda: len(index.fetch_by_metadata(filter={"user": "anon"}, namespace=ns).vectors) == 2)
    assert ids(index, ns) == ["a", "b"]


def test_namespaces_are_made_listed_described_and_deleted(index: Any, ns: str) -> None:
    names = [f"{ns}/{name}" for name in ("1*", "a b?", "a_b")]
    for name in names:
        index.create_namespace(name=name)
    with pytest.raises(errors.ConflictError):
        index.create_namespace(name=names[0])
    seed(index, names[0], vector("a"))
    until(lambda: index.describe_namespace(name=names[0]).record_count == 1)
    assert [item.name for item in _all_namespaces(index, f"{ns}/")] == names
    index.delete_namespace(name=names[0])
    until(lambda: [item.name for item in _all_namespaces(index, f"{ns}/")] == names[1:])
    assert ids(index, names[0]) == []


def _all_namespaces(index: Any, prefix: str) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = index.list_namespaces_paginated(prefix=prefix, limit=2, pagination_token=token)
        found += page.namespaces
        if page.pagination is None or not page.pagination.next:
            return found
        token = page.pagination.next


def test_the_default_namespace_has_two_names(index: Any) -> None:
    index.upsert(vectors=[vector("default-one")])
    until(lambda: ids(index, "__default__") == ["default-one"])
    assert ids(index, "") == ["default-one"]
    until(lambda: "" in index.describe_index_stats().namespaces)
    index.delete_namespace(name="__default__")
    until(lambda: ids(index, "") == [])


# Honesty about time


def test_reads_lag_behind_writes_and_counts_lag_behind_reads(server: Running, index: Any, ns: str) -> None:
    written = post(server, "/vectors/upsert", {"namespace": ns, "vectors": [vector("a"), vector("b")]})
    lsn = int(written.headers["x-pinecone-request-lsn"])
    query = {"namespace": ns, "topK": 5, "vector": [1.0] * 8}
    early = post(server, "/query", query)
    assert early.json()["matches"] == []
    assert int(early.headers["x-pinecone-max-indexed-lsn"]) < lsn
    until(lambda: int(post(server, "/query", query).headers["x-pinecone-max-indexed-lsn"]) >= lsn)
    assert len(post(server, "/query", query).json()["matches"]) == 2
    until(lambda: ns in index.describe_index_stats().namespaces)
    index.delete(ids=["a", "b"], namespace=ns)
    assert ids(index, ns) == ["a", "b"], "a delete is not visible at once"
    until(lambda: ids(index, ns) == [])
    assert index.describe_index_stats().namespaces[ns].vector_count == 2, "counts lag behind reads"
    until(lambda: ns not in index.describe_index_stats().namespaces)


def test_a_delete_by_filter_also_takes_what_is_not_visible_yet(index: Any, ns: str) -> None:
    index.upsert(vectors=[vector("a", user="u")], namespace=ns)
    index.delete(filter={"user": "u"}, namespace=ns)
    index.upsert(vectors=[vector("marker")], namespace=ns)
    until(lambda: ids(index, ns) == ["marker"])


def test_the_sdk_sees_the_sequence_numbers(index: Any, ns: str) -> None:
    written = index.upsert(vectors=[vector("a")], namespace=ns)
    assert written.response_info.lsn_committed == 1
    until(lambda: index.query(id="a", top_k=1, namespace=ns).response_info.lsn_reconciled == 1)


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
    assert httpx.post(f"{server.url}/_trial", json={"lag_ms": 0}).status_code == 404
    with pytest.raises(httpx.HTTPStatusError):
        server.trial(unknown=1)


def test_too_many_requests_or_deletes_get_a_429_with_retry_after(
    server: Running, index: Any, ns: str
) -> None:
    seed(index, ns, *[vector(f"v{i}") for i in range(30)])
    server.trial(rate_per_s=3)
    try:
        answers = [post(server, "/describe_index_stats", {}) for _ in range(6)]
    finally:
        server.trial(rate_per_s=0)
    assert [answer.status_code for answer in answers][:1] == [200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].headers["Retry-After"] == "1"
    assert refused[0].json()["code"] == 8
    server.trial(delete_records_per_s=10)
    try:
        first = post(server, "/vectors/delete", {"namespace": ns, "ids": [f"v{i}" for i in range(10)]})
        second = post(server, "/vectors/delete", {"namespace": ns, "ids": [f"v{i}" for i in range(10, 20)]})
    finally:
        server.trial(delete_records_per_s=0)
    assert (first.status_code, second.status_code) == (200, 429)
    until(lambda: len(ids(index, ns)) == 20)


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
    until(lambda: ids(second, ns) == ["only-there"])
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
    until(lambda: client.backups.describe(backup_id=backup.backup_id).status == "Ready")
    assert backup.backup_id in {item.backup_id for item in client.backups.list(index_name="rag")}
    name = f"restored-{uuid.uuid4().hex[:6]}"
    client.create_index_from_backup(name=name, backup_id=backup.backup_id)
    restored = client.index(name)
    until(lambda: ids(restored, ns) == ["kept"])
    assert [job.target_index_name for job in client.restore_jobs.list()].count(name) == 1
    client.indexes.delete(name)
    client.backups.delete(backup_id=backup.backup_id)
    with pytest.raises(errors.NotFoundError):
        client.backups.describe(backup_id=backup.backup_id)


def test_it_is_fast_enough_not_to_bind_a_benchmark(server: Running, index: Any, ns: str) -> None:
    names = [f"doc{i:05d}#0" for i in range(5_000)]
    for start in range(0, len(names), 1_000):
        index.upsert(vectors=[vector(name) for name in names[start : start + 1_000]], namespace=ns)
    until(lambda: len(index.list_paginated(namespace=ns, prefix="doc04999").vectors) == 1)
    started = time.monotonic()
    assert len(ids(index, ns)) == 5_000
    listed = time.monotonic()
    for start in range(0, len(names), 1_000):
        index.delete(ids=names[start : start + 1_000], namespace=ns)
    deleted = time.monotonic()
    assert listed - started < 2.5, "listing is slower than 2,000 ids a second"
    assert deleted - listed < 1, "deleting is slower than 5,000 ids a second"
