"""One index, as a move reads and writes it: whole vectors, in as few requests as the service's limits allow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import httpx
import orjson

from lifecycle.participation.digests import of_vector
from lifecycle.systems.base import Permanent, Transient, Unreachable
from lifecycle.systems.clients import trust
from lifecycle.systems.pinecone.wire import LIST_PAGE, VERSION, pieces

SECONDS, PATIENCE = 30.0, 60.0
_AGAIN = 2
UPSERT_IDS, UPSERT_BYTES = 1_000, 2 * 1024 * 1024 - 64 * 1024
Vector = Mapping[str, Any]


class Store:
    """One index's data plane. Safe in threads."""

    def __init__(self, place: Mapping[str, str], connections: int) -> None:
        self.place = place
        self._host = place["index_host"].rstrip("/")
        if "://" not in self._host:
            self._host = f"https://{self._host}"
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        headers = {
            "Api-Key": place["key"],
            "X-Pinecone-Api-Version": VERSION,
            "Content-Type": "application/json",
        }
        self._http = httpx.Client(headers=headers, limits=limits, timeout=SECONDS, verify=trust())

    def ids(self, namespace: str, token: str | None) -> tuple[list[str], str | None]:
        """One page of ids, and the token of the next."""
        query = {"namespace": namespace, "limit": str(LIST_PAGE)}
        body, _ = self._ask(
            "GET", "/vectors/list", params=query | ({"paginationToken": token} if token else {})
        )
        return [each["id"] for each in body.get("vectors", ())], (body.get("pagination") or {}).get(
            "next"
        ) or None

    def of_tenant(
        self, namespace: str, condition: Mapping[str, Any], token: str | None
    ) -> tuple[list[str], str | None]:
        """One page of ids in a shared namespace whose metadata match."""
        wanted = {"namespace": namespace, "filter": condition, "limit": LIST_PAGE}
        body, _ = self._ask(
            "POST",
            "/vectors/fetch_by_metadata",
            content=orjson.dumps(wanted | ({"paginationToken": token} if token else {})),
        )
        return list(body.get("vectors", {})), (body.get("pagination") or {}).get("next") or None

    def fetch(self, namespace: str, ids: Sequence[str]) -> dict[str, Vector]:
        """Those of `ids` (one request's worth, see `parts`) that reads show."""
        query = httpx.QueryParams([("namespace", namespace), *(("ids", each) for each in ids)])
        body, _ = self._ask("GET", "/vectors/fetch", params=query)
        found: dict[str, Vector] = body.get("vectors", {})
        return found

    def upsert(self, namespace: str, vectors: Iterable[Vector]) -> int | None:
        """Stores vectors, in as many requests as their number and size need; returns the last write's number (LSN)."""
        written: int | None = None
        for body in bodies(namespace, vectors):
            _, headers = self._ask("POST", "/vectors/upsert", content=body)
            written = _number(headers, "x-pinecone-request-lsn", "x-pinecone-lsn-committed")
        return written

    def delete(self, namespace: str, ids: Sequence[str]) -> int | None:
        """Deletes up to 1,000 ids; those that are gone are deleted."""
        content = orjson.dumps({"namespace": namespace, "ids": list(ids)})
        _, headers = self._ask("POST", "/vectors/delete", content=content)
        return _number(headers, "x-pinecone-request-lsn", "x-pinecone-lsn-committed")

    def caught_up(self, namespace: str, written: int | None, seconds: float = 30.0) -> None:
        """Waits until reads of a namespace show a write. Raises Transient after `seconds`."""
        ends = time.monotonic() + seconds
        while written is not None:
            query = {"namespace": namespace, "limit": "1"}
            _, headers = self._ask("GET", "/vectors/list", params=query)
            visible = _number(headers, "x-pinecone-max-indexed-lsn", "x-pinecone-lsn-reconciled")
            if visible is None or visible >= written:
                return
            if time.monotonic() > ends:
                raise Transient("Pinecone's reads stay behind its writes; try again later.")
            time.sleep(0.05)

    def stats(self) -> dict[str, Any]:
        """Dimension, metric, and counts of each namespace, which lag."""
        return self._ask("POST", "/describe_index_stats", content=b"{}")[0]

    def close(self) -> None:
        """Closes every connection."""
        self._http.close()

    def _ask(self, method: str, path: str, **more: Any) -> tuple[dict[str, Any], httpx.Headers]:
        """One request; {} for what is not there. Waits while the service asks for fewer requests."""
        wait, ends, broken = 0.1, time.monotonic() + PATIENCE, 0
        while True:
            try:
                response = self._http.request(method, self._host + path, **more)
            except httpx.HTTPError as error:
                # A connection that the server closed while it was idle; every request of ours may be repeated.
                broken += 1
                if broken <= _AGAIN and isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
                    continue
                raise Unreachable("Pinecone did not answer; try again when it is up.") from error
            if response.status_code != 429:
                break
            wait = max(wait, _seconds(response.headers.get("retry-after", "")))
            if time.monotonic() + wait > ends:
                raise Transient("Pinecone asks for fewer requests; try again later.")
            time.sleep(wait)
            wait = min(5.0, wait * 2)
        if response.status_code == 404:
            return {}, response.headers
        if response.status_code >= 500 or response.status_code == 408:
            raise Transient(f"Pinecone is unavailable (status {response.status_code}); try again.")
        if response.status_code != 200 and response.status_code != 202:
            raise Permanent(
                f"Pinecone refused a request of a move (status {response.status_code}); check index and key."
            )
        try:
            return orjson.loads(response.content or b"{}"), response.headers
        except orjson.JSONDecodeError as error:
            raise Transient("Pinecone's answer was no JSON; try again.") from error


def parts(ids: Sequence[str]) -> Iterator[list[str]]:
    """`ids` as one address can hold them."""
    return pieces(list(ids))


def bodies(namespace: str, vectors: Iterable[Vector]) -> Iterator[bytes]:
    """Bodies of upserts, each within the limits of number and size."""
    head = b'{"namespace":' + json.dumps(namespace).encode() + b',"vectors":['
    part: list[bytes] = []
    size = len(head)
    for vector in vectors:
        one = orjson.dumps({name: vector[name] for name in _FIELDS if vector.get(name)})
        if part and (len(part) >= UPSERT_IDS or size + len(one) > UPSERT_BYTES):
            yield head + b",".join(part) + b"]}"
            part, size = [], len(head)
        part.append(one)
        size += len(one) + 1
    if part:
        yield head + b",".join(part) + b"]}"


def digest(vector: Vector) -> str:
    """What a vector is: float32 values, sparse values and metadata."""
    return of_vector(vector.get("values") or (), vector.get("metadata"), vector.get("sparseValues"))


def key_of(namespace: str, vector_id: str) -> str:
    """The key of a change of one vector."""
    return json.dumps([namespace, vector_id])


def split(key: str) -> tuple[str, str]:
    """Namespace and id of a change's key."""
    namespace, vector_id = json.loads(key)
    return str(namespace), str(vector_id)


_FIELDS = ("id", "values", "sparseValues", "metadata")


def _number(headers: Mapping[str, str], *names: str) -> int | None:
    return next((int(headers[name]) for name in names if headers.get(name, "").isdigit()), None)


def _seconds(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdigit() else 0.1
