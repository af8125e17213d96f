"""The eraser's requests to Pinecone's data plane (OpenAPI 2026-04), with nothing that retries behind the gate."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from lifecycle.systems.base import BatchOver, Gate, Permanent, Transient
from lifecycle.systems.clients import trust

VERSION = "2025-10"
READ_SECONDS, PATIENCE = 30.0, 30.0
LIST_PAGE, FETCH_IDS, FETCH_CHARACTERS, METADATA_PAGE = 100, 100, 6_000, 500


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and log sequence numbers: of this write, and up to which reads see the namespace."""

    status: int
    body: Mapping[str, Any]
    written: int | None
    visible: int | None


class Wire:
    """One HTTP client for all hosts of a project. Safe in threads."""

    def __init__(self, key: str, connections: int) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        headers = {"Api-Key": key, "X-Pinecone-Api-Version": VERSION}
        self._http = httpx.Client(headers=headers, limits=limits, timeout=READ_SECONDS, verify=trust())

    def read(self, method: str, url: str, **more: Any) -> Answer:
        """A request that changes nothing; waits out "too many requests" for up to 30 s."""
        ends = time.monotonic() + PATIENCE
        while True:
            answer, wait = self._once(method, url, READ_SECONDS, **more)
            if answer is not None:
                return answer
            if time.monotonic() + wait > ends:
                raise Transient("Pinecone asks for fewer requests; try again later.")
            time.sleep(wait)

    def destroy(self, method: str, url: str, gate: Gate, **more: Any) -> Answer:
        """A request that deletes. Asks the gate before each send; waits for "too many requests" only inside the batch."""
        while True:
            gate.check()
            seconds = gate.remaining()
            if seconds <= 0:
                raise BatchOver
            try:
                answer, wait = self._once(method, url, seconds, **more)
            except Transient as error:
                if gate.remaining() <= 0:
                    raise BatchOver from error
                raise
            if answer is not None:
                return answer
            if wait >= gate.remaining():
                raise BatchOver
            time.sleep(wait)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def _once(self, method: str, url: str, seconds: float, **more: Any) -> tuple[Answer | None, float]:
        try:
            response = self._http.request(method, url, timeout=max(0.05, seconds), **more)
            body = response.json() if response.content else {}
        except httpx.HTTPError as error:
            raise Transient("Pinecone did not answer; try again when it is up.") from error
        except ValueError as error:
            raise Transient("Pinecone's answer was no JSON; try again.") from error
        if response.status_code == 429:
            return None, _retry_after(response.headers)
        if response.status_code >= 500 or response.status_code == 408:
            raise Transient(f"Pinecone is unavailable (status {response.status_code}); try again.")
        if response.status_code in (401, 403):
            raise Permanent(_refused(response.status_code))
        headers = response.headers
        written = _number(headers, "x-pinecone-request-lsn", "x-pinecone-lsn-committed")
        visible = _number(headers, "x-pinecone-max-indexed-lsn", "x-pinecone-lsn-reconciled")
        return Answer(response.status_code, body, written, visible), 0.0


class Index:
    """One index's data plane."""

    def __init__(self, wire: Wire, name: str, host: str) -> None:
        self._wire = wire
        self.name = name
        self._host = host
        self._can_filter = True

    def ids(self, namespace: str, prefix: str = "", token: str | None = None) -> tuple[list[str], str | None]:
        """One page of ids in bitwise order, and the token of the next."""
        body = self._get("/vectors/list", _list_query(namespace, prefix, token)).body
        return [each["id"] for each in body.get("vectors", ())], _next(body)

    def visible(self, namespace: str) -> int | None:
        """Up to which write reads of a namespace see, where the service tells."""
        return self._get("/vectors/list", _list_query(namespace, "", None) | {"limit": "1"}).visible

    def is_empty(self, namespace: str) -> bool:
        """Whether a namespace shows no vector."""
        answer = self._get("/vectors/list", _list_query(namespace, "", None) | {"limit": "1"})
        return not answer.body.get("vectors")

    def metadata(self, namespace: str, ids: list[str]) -> dict[str, dict[str, Any]]:
        """The metadata of those of `ids` that are there; {} for a vector without."""
        found: dict[str, dict[str, Any]] = {}
        for part in pieces(ids):
            query = [("namespace", namespace), *(("ids", each) for each in part)]
            body = self._get("/vectors/fetch", query).body
            found |= {key: one.get("metadata") or {} for key, one in body.get("vectors", {}).items()}
        return found

    def matching(
        self, namespace: str, condition: Mapping[str, Any], token: str | None
    ) -> tuple[dict[str, dict[str, Any]], str | None]:
        """One page of the vectors whose metadata match: metadata by id, and the token of the next.

        Where the index can't look up by metadata, a page of all vectors: the caller checks what matches.
        """
        if self._can_filter:
            wanted = {"namespace": namespace, "filter": condition, "limit": METADATA_PAGE}
            body = wanted | ({"paginationToken": token} if token else {})
            answer = self._wire.read("POST", f"{self._host}/vectors/fetch_by_metadata", json=body)
            if answer.status in (200, 404):
                found = answer.body.get("vectors", {})
                return {key: one.get("metadata") or {} for key, one in found.items()}, _next(answer.body)
            if token:
                raise Transient("Pinecone broke off a lookup by metadata; try again.")
            self._can_filter = False
        ids, token = self.ids(namespace, token=token)
        return self.metadata(namespace, ids), token

    def namespaces(self, token: str | None) -> tuple[list[str], str | None]:
        """One page of namespaces that exist, and the token of the next."""
        body = self._get("/namespaces", {"limit": "100"} | ({"paginationToken": token} if token else {})).body
        return [each["name"] for each in body.get("namespaces", ())], _next(body)

    def delete(self, namespace: str, ids: list[str], gate: Gate) -> Answer:
        """Delete up to 1,000 ids. A namespace that is missing has none of them."""
        body = {"namespace": namespace, "ids": ids}
        answer = self._wire.destroy("POST", f"{self._host}/vectors/delete", gate, json=body)
        return _accepted(answer, 200, 202, 404)

    def delete_namespace(self, namespace: str, gate: Gate) -> Answer:
        """Delete a namespace; one that is missing is deleted."""
        url = httpx.URL(self._host).join(f"/namespaces/{_segment(namespace)}")
        return _accepted(self._wire.destroy("DELETE", str(url), gate), 200, 202, 404)

    def upsert(self, namespace: str, vector: Mapping[str, Any]) -> Answer:
        """Store one vector."""
        body = {"namespace": namespace, "vectors": [vector]}
        return _accepted(self._wire.read("POST", f"{self._host}/vectors/upsert", json=body), 200)

    def sample_values(self) -> dict[str, Any]:
        """Values that this index takes: of its dimension, or sparse."""
        stats = self._wire.read("POST", f"{self._host}/describe_index_stats", json={}).body
        if stats.get("vectorType") == "sparse":
            return {"sparseValues": {"indices": [0], "values": [1.0]}}
        return {"values": [1.0] + [0.0] * (int(stats["dimension"]) - 1)}

    def _get(self, path: str, query: Any) -> Answer:
        answer = self._wire.read("GET", f"{self._host}{path}", params=query)
        if answer.status == 404:
            return Answer(404, {}, None, answer.visible)
        return _accepted(answer, 200)


def pieces(ids: list[str]) -> Iterator[list[str]]:
    """`ids` in parts that one address can hold: at most 100, at most 6,000 characters."""
    part: list[str] = []
    size = 0
    for each in ids:
        if part and (len(part) >= FETCH_IDS or size + len(each) > FETCH_CHARACTERS):
            yield part
            part, size = [], 0
        part.append(each)
        size += len(each) + 5
    if part:
        yield part


def _list_query(namespace: str, prefix: str, token: str | None) -> dict[str, str]:
    query = {"namespace": namespace, "limit": str(LIST_PAGE)}
    return query | ({"prefix": prefix} if prefix else {}) | ({"paginationToken": token} if token else {})


def _accepted(answer: Answer, *wanted: int) -> Answer:
    if answer.status not in wanted:
        raise Permanent(
            f"Pinecone refused a request (status {answer.status}); check the index of this environment."
        )
    return answer


def _refused(status: int) -> str:
    if status == 401:
        return "Pinecone refused the API key; check the key of this environment."
    return (
        "Pinecone forbids it (status 403): deletion protection is on, or the key may only read. Switch deletion "
        "protection off for this index or give a key that may delete, then retry."
    )


def _next(body: Mapping[str, Any]) -> str | None:
    return (body.get("pagination") or {}).get("next") or None


def _segment(name: str) -> str:
    return quote(name, safe="")


def _number(headers: Mapping[str, str], *names: str) -> int | None:
    return next((int(headers[name]) for name in names if headers.get(name, "").isdigit()), None)


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "1")
    return max(0.1, float(text)) if text.replace(".", "", 1).isdigit() else 1.0
