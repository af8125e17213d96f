"""The local Pinecone's data plane answers the official SDK as the real one does: every call, every limit."""

from __future__ import annotations

from typing import Any

import pytest
from pinecone import Pinecone
from pinecone.errors import exceptions as errors

from tests.demo.servers.pinecone_calls import all_namespaces, ids, post, seed, vector
from tests.demo.servers.running import KEY, READER, Running

# Refusals


def test_a_wrong_key_is_refused_on_both_planes(server: Running) -> None:
    for path, message in (("/vectors/list", "message"), ("/indexes", "error")):
        answer = server.http.get(f"{path}", headers={"Api-Key": "wrong"})
        assert answer.status_code == 401
        assert message in answer.json()
    with pytest.raises(errors.UnauthorizedError):
        Pinecone(api_key="wrong", host=server.url).indexes.describe("rag")


def test_a_reader_key_reads_and_changes_nothing(server: Running, index: Any, ns: str) -> None:
    seed(index, ns, vector("a"))
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
    assert server.http.delete(f"/namespaces/{ns}", headers={"Api-Key": READER}).status_code == 403
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
    assert all_namespaces(index, ns) == []


def test_a_list_page_holds_at_most_100_ids_and_tokens_are_checked(server: Running) -> None:
    for query in ("limit=101", "limit=0", "paginationToken=%ff"):
        answer = server.http.get(f"/vectors/list?{query}", headers={"Api-Key": KEY})
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
    assert bool(index.fetch(ids=["d*/1#0"], namespace=ns).vectors)
    found = index.fetch(ids=["d*/1#0", "none"], namespace=ns).vectors
    assert set(found) == {"d*/1#0"}
    assert found["d*/1#0"].metadata == metadata
    assert found["d*/1#0"].values == pytest.approx(values, rel=1e-6)
    assert found["d*/1#0"].values[0] == 0.1
    assert found["d*/1#0"].sparse_values.indices == [1, 5]
    index.upsert(vectors=[{"id": "copy", "values": found["d*/1#0"].values}], namespace=ns)
    assert "copy" in ids(index, ns)
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
    assert len(ids(index, ns)) == len(names) - 100
    index.upsert(vectors=[vector(gone[0])], namespace=ns)
    assert len(ids(index, ns)) == len(names) - 99
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
    assert "d0" not in ids(index, ns)
    index.delete(filter={"user": {"$eq": "u1"}}, namespace=ns)
    assert ids(index, ns) == ["d2", "d4", "d6"]
    index.delete(delete_all=True, namespace=ns)
    assert ids(index, ns) == []
    assert ids(index, f"{ns}7") == ["d0"]
    assert index.describe_namespace(name=ns).name == ns


def test_updates_merge_metadata(index: Any, ns: str) -> None:
    seed(index, ns, vector("a", user="1", page=1), vector("b", user="1", page=2))
    index.update(id="a", namespace=ns, set_metadata={"page": 9}, values=[2.0] * 8)
    assert index.fetch(ids=["a"], namespace=ns).vectors["a"].metadata == {"user": "1", "page": 9}
    assert index.fetch(ids=["a"], namespace=ns).vectors["a"].values == [2.0] * 8
    index.update(id="missing", namespace=ns, set_metadata={"page": 9})
    changed = index.update(filter={"user": "1"}, namespace=ns, set_metadata={"user": "anon"})
    assert changed.matched_records == 2
    assert len(index.fetch_by_metadata(filter={"user": "anon"}, namespace=ns).vectors) == 2
    assert ids(index, ns) == ["a", "b"]


def test_namespaces_are_made_listed_described_and_deleted(index: Any, ns: str) -> None:
    names = [f"{ns}/{name}" for name in ("1*", "a b?", "a_b")]
    for name in names:
        index.create_namespace(name=name)
    with pytest.raises(errors.ConflictError):
        index.create_namespace(name=names[0])
    seed(index, names[0], vector("a"))
    assert index.describe_namespace(name=names[0]).record_count == 1
    assert [item.name for item in all_namespaces(index, f"{ns}/")] == names
    index.delete_namespace(name=names[0])
    assert [item.name for item in all_namespaces(index, f"{ns}/")] == names[1:]
    assert ids(index, names[0]) == []


def test_the_default_namespace_has_two_names(index: Any) -> None:
    index.upsert(vectors=[vector("default-one")])
    assert ids(index, "__default__") == ["default-one"]
    assert ids(index, "") == ["default-one"]
    assert "" in index.describe_index_stats().namespaces
    index.delete_namespace(name="__default__")
    assert ids(index, "") == []
