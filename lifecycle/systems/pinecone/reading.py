"""The verifier's reads of Pinecone: plain requests by the OpenAPI files, none of the eraser's code, no SDK."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.clients import trust

THREADS = 8
PATIENCE = 30.0
Record = Mapping[str, Any]


class Reader:
    """Everything a project lets a reader see. Safe in threads."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self._place = place
        headers = {"api-key": place.get("reader_key") or place["key"], "x-pinecone-api-version": "2025-10"}
        limits = httpx.Limits(max_connections=THREADS)
        self._http = httpx.Client(headers=headers, timeout=30, limits=limits, verify=trust())
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pinecone-verify")
        self._hosts: dict[str, str] = {}

    def indexes(self) -> list[str]:
        """The names of all indexes; their hosts are remembered."""
        known = {self._place["index"]: self._place["index_host"].rstrip("/")}
        for each in self._json("GET", f"{self._place['control_host'].rstrip('/')}/indexes").get(
            "indexes", ()
        ):
            host = each["host"] if "://" in each["host"] else f"https://{each['host']}"
            known.setdefault(each["name"], host)
        self._hosts = known
        return sorted(known)

    def namespaces(self, index: str, token: str | None) -> tuple[list[str], str | None]:
        """One page of namespaces, and the token of the next."""
        body = self._json(
            "GET", f"{self._host(index)}/namespaces", params=_given(limit="100", paginationToken=token)
        )
        return [each["name"] for each in body.get("namespaces", ())], _following(body)

    def all_namespaces(self, index: str) -> Iterator[str]:
        """Every namespace of an index."""
        token: str | None = None
        while True:
            names, token = self.namespaces(index, token)
            yield from names
            if not token:
                return

    def list_page(self, index: str, namespace: str, token: str | None) -> tuple[list[str], str | None]:
        """One page of ids, and the token of the next."""
        wanted = _given(namespace=namespace, limit="100", paginationToken=token)
        body = self._json("GET", f"{self._host(index)}/vectors/list", params=wanted)
        return [each["id"] for each in body.get("vectors", ())], _following(body)

    def all_ids(self, index: str, namespace: str) -> Iterator[list[str]]:
        """Every id of a namespace, page by page."""
        token: str | None = None
        while True:
            ids, token = self.list_page(index, namespace, token)
            yield ids
            if not token:
                return

    def fetch(self, index: str, namespace: str, ids: Sequence[str]) -> dict[str, Record]:
        """The records of those of `ids` that are there, asked for side by side."""
        parts = list(_parts(ids))
        found: dict[str, Record] = {}
        for records in self.pool.map(lambda part: self._fetch(index, namespace, part), parts):
            found |= records
        return found

    def by_metadata(self, index: str, namespace: str, condition: Mapping[str, Any]) -> dict[str, Record]:
        """The records whose metadata match; by reading all where the index can't look up by metadata."""
        found: dict[str, Record] = {}
        token: str | None = None
        while True:
            wanted = _given(namespace=namespace, filter=condition, limit=200, paginationToken=token)
            body = self._json(
                "POST", f"{self._host(index)}/vectors/fetch_by_metadata", json=wanted, lenient=True
            )
            if "vectors" not in body:
                return {
                    k: r
                    for page in self.all_ids(index, namespace)
                    for k, r in self.fetch(index, namespace, page).items()
                }
            found |= body["vectors"]
            token = _following(body)
            if not token:
                return found

    def close(self) -> None:
        """Ends the threads and closes the connections."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        self._http.close()

    def _fetch(self, index: str, namespace: str, ids: Sequence[str]) -> dict[str, Record]:
        params = httpx.QueryParams([("namespace", namespace), *(("ids", each) for each in ids)])
        found: dict[str, Record] = self._json("GET", f"{self._host(index)}/vectors/fetch", params=params).get(
            "vectors", {}
        )
        return found

    def _host(self, index: str) -> str:
        if index not in self._hosts:
            self.indexes()
        if index not in self._hosts:
            raise IndexGone
        return self._hosts[index]

    def _json(self, method: str, url: str, *, lenient: bool = False, **more: Any) -> dict[str, Any]:
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                response = self._http.request(method, url, **more)
            except httpx.HTTPError as error:
                raise Transient("Pinecone did not answer the verifier; try again.") from error
            if response.status_code != 429:
                break
            wait = float(response.headers.get("retry-after", "1"))
            if time.monotonic() + wait > ends:
                raise Transient("Pinecone asks the verifier for fewer requests; try again later.")
            time.sleep(wait)
        if response.status_code == 404 or (lenient and response.status_code in (400, 405, 501)):
            return {"vectors": {}} if lenient and response.status_code == 404 else {}
        if response.status_code >= 500:
            raise Transient(f"Pinecone is unavailable (status {response.status_code}); try again.")
        if response.status_code != 200:
            raise Permanent(f"Pinecone refused the verifier (status {response.status_code}); check its key.")
        body: dict[str, Any] = response.json()
        return body


class IndexGone(Exception):
    """The index has been deleted, with all its vectors."""


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _following(body: Mapping[str, Any]) -> str | None:
    return (body.get("pagination") or {}).get("next") or None


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """At most 100 ids and 6,000 characters: they stand in the address of the request."""
    start = size = 0
    for at, each in enumerate(ids):
        if at > start and (at - start >= 100 or size + len(each) > 6_000):
            yield ids[start:at]
            start, size = at, 0
        size += len(each) + 5
    if start < len(ids):
        yield ids[start:]
