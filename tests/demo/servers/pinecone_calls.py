"""Small calls that the tests of the local Pinecone share."""

from __future__ import annotations

from typing import Any

import httpx

from tests.demo.servers.running import KEY, Running


def vector(record_id: str, direction: int = 0, **metadata: Any) -> dict[str, Any]:
    values = [0.0] * 8
    values[direction] = 1.0
    return {"id": record_id, "values": values, "metadata": metadata}


def ids(index: Any, namespace: str, prefix: str | None = None) -> list[str]:
    return [item.id for page in index.list(namespace=namespace, prefix=prefix) for item in page.vectors]


def seed(index: Any, namespace: str, *vectors: dict[str, Any]) -> None:
    index.upsert(vectors=list(vectors), namespace=namespace)
    assert len(ids(index, namespace)) == len({item["id"] for item in vectors})


def post(server: Running, path: str, body: Any, key: str = KEY) -> httpx.Response:
    return server.http.post(path, json=body, headers={"Api-Key": key})


def all_namespaces(index: Any, prefix: str) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = index.list_namespaces_paginated(prefix=prefix, limit=2, pagination_token=token)
        found += page.namespaces
        if page.pagination is None or not page.pagination.next:
            return found
        token = page.pagination.next
