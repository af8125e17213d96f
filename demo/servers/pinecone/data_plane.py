"""Pinecone's data plane (OpenAPI 2026-04): vectors and namespaces of one index."""

from __future__ import annotations

import base64
import heapq
import math
from collections.abc import Callable
from typing import Any

from demo.servers.pinecone import limits
from demo.servers.pinecone.filters import FilterError, Predicate, compile_filter
from demo.servers.pinecone.limits import ApiError
from demo.servers.pinecone.records import Namespace, Record
from demo.servers.pinecone.store import DEFAULT_NAMESPACE, Index, Store
from demo.servers.trial import Entry, Trial
from demo.servers.web import Request, Response, json_response

USAGE = {"readUnits": 1}
_NOTHING: dict[str, Any] = {}


class DataPlane:
    """Answers data-plane requests. `trial` gives the settings that may change while it runs."""

    def __init__(self, store: Store, trial: Trial) -> None:
        self._store = store
        self._trial = trial
        self._deleted: dict[tuple[str, str], tuple[float, float]] = {}
        self._posts: dict[str, Callable[[Index, dict[str, Any], Entry], Response]] = {
            "/vectors/upsert": self.upsert,
            "/query": self.query,
            "/vectors/delete": self.delete,
            "/vectors/update": self.update,
            "/vectors/fetch_by_metadata": self.fetch_by_metadata,
            "/describe_index_stats": self.stats,
            "/namespaces": self.create_namespace,
        }
        self.writes = {"/vectors/upsert", "/vectors/delete", "/vectors/update"}

    def serves(self, path: str) -> bool:
        """Whether a path belongs to the data plane."""
        return path.startswith(("/vectors/", "/namespaces")) or path in self._posts

    def is_write(self, request: Request) -> bool:
        """Whether a request would change something."""
        return request.path in self.writes or (
            request.path.startswith("/namespaces") and request.method != "GET"
        )

    def handle(self, index: Index, request: Request, entry: Entry) -> Response:
        """Answer one request; raises ApiError. Fills `entry` with the namespace and the number of ids."""
        try:
            return self._route(index, request, entry)
        except FilterError as error:
            raise ApiError(400, f"Invalid filter: {error}.") from error

    def _route(self, index: Index, request: Request, entry: Entry) -> Response:
        method, path = request.method, request.path
        if method == "POST" and path in self._posts:
            if path == "/vectors/upsert" and len(request.body) > limits.MAX_UPSERT_BYTES:
                raise ApiError(400, "The request's size exceeds the maximum supported size of 2 MB.")
            return self._posts[path](index, limits.parse_object(request.body), entry)
        if method == "GET" and path == "/vectors/fetch":
            return self.fetch(index, request, entry)
        if method == "GET" and path == "/vectors/list":
            return self.list_ids(index, request, entry)
        if method == "GET" and path == "/namespaces":
            return self.list_namespaces(index, request)
        segments = request.segments()
        if segments[0] == "namespaces" and len(segments) == 2:
            entry.path = "/namespaces/{namespace}"
            if method == "GET":
                return self.describe_namespace(index, _name(segments[1]), entry)
            if method == "DELETE":
                return self.delete_namespace(index, _name(segments[1]), entry)
        raise ApiError(404, "There is no such path.")

    # Writes

    def upsert(self, index: Index, body: dict[str, Any], entry: Entry) -> Response:
        """Store vectors, replacing those of the same id."""
        entry.namespace = name = _name(body.get("namespace"))
        records = limits.check_vectors(body.get("vectors"), index.dimension)
        entry.ids = len(records)
        target = self._store.write(index, name, records)
        return _written({"upsertedCount": len(body["vectors"])}, target)

    def delete(self, index: Index, body: dict[str, Any], entry: Entry) -> Response:
        """Delete by ids, by filter, or all of a namespace; exactly one of them."""
        entry.namespace = name = _name(body.get("namespace"))
        ids, everything, condition = body.get("ids"), body.get("deleteAll", False), body.get("filter")
        if not isinstance(everything, bool):
            raise ApiError(400, "deleteAll must be a boolean.")
        if (ids is not None) + everything + (condition is not None) != 1:
            raise ApiError(400, "Give exactly one of ids, deleteAll and filter.")
        if condition is not None and not condition:
            raise ApiError(
                400, "The filter to delete by must not be empty; use deleteAll for a whole namespace."
            )
        wanted = None if ids is None else limits.check_ids(ids, limits.MAX_DELETE_IDS)
        predicate = None if condition is None else compile_filter(condition)
        namespace = index.namespaces.get(name)
        if namespace is None or not namespace.present:
            if self._trial.missing_namespace == 404:
                raise ApiError(404, "Namespace not found")
            return json_response(_NOTHING)
        if wanted is None:
            wanted = (
                list(namespace.committed) if predicate is None else _matching(namespace.committed, predicate)
            )
        self._check_delete_rate(index, name, len(wanted))
        entry.ids = len(wanted)
        return _written(_NOTHING, self._store.write(index, name, dict.fromkeys(wanted)))

    def _check_delete_rate(self, index: Index, name: str, count: int) -> None:
        """A bucket of one second's worth per namespace; a request larger than it passes when it is full."""
        rate = self._trial.delete_records_per_s
        if not rate:
            return
        now = self._trial.clock()
        level, since = self._deleted.get((index.name, name), (0.0, now))
        level = max(0.0, level - (now - since) * rate)
        if level > 0 and level + count > rate:
            raise ApiError(429, "The rate of deleted records per second exceeds the limit of this namespace.")
        self._deleted[index.name, name] = (level + count, now)

    def update(self, index: Index, body: dict[str, Any], entry: Entry) -> Response:
        """Change one record by id, or the metadata of all that match a filter."""
        entry.namespace = name = _name(body.get("namespace"))
        record_id, condition = body.get("id"), body.get("filter")
        if (record_id is None) == (condition is None):
            raise ApiError(400, "Give exactly one of id and filter.")
        metadata = limits.check_metadata(body.get("setMetadata"))
        values = None if body.get("values") is None else limits.check_values(body["values"], index.dimension)
        sparse = limits.check_sparse(body.get("sparseValues"))
        namespace = index.namespaces.get(name)
        committed = namespace.committed if namespace else {}
        if condition is not None:
            if values or sparse or not metadata:
                raise ApiError(400, "An update by filter sets metadata and nothing else.")
            chosen = _matching(committed, compile_filter(condition))
        else:
            chosen = [key for key in (limits.check_id(record_id),) if key in committed]
        matched = {"matchedRecords": len(chosen)} if condition is not None else _NOTHING
        if body.get("dryRun") or not chosen:
            return json_response(matched)
        entry.ids = len(chosen)
        changes = {key: _updated(committed[key], values, sparse, metadata) for key in chosen}
        return _written(matched, self._store.write(index, name, changes))

    # Reads

    def fetch(self, index: Index, request: Request, entry: Entry) -> Response:
        """Records by id."""
        entry.namespace = name = _name(request.param("namespace"))
        ids = limits.check_ids(list(request.query.get("ids", [])), limits.MAX_FETCH_IDS)
        entry.ids = len(ids)
        namespace = index.settled(name)
        visible = namespace.visible if namespace else {}
        vectors = {key: visible[key].shown(key) for key in ids if key in visible}
        return _read({"vectors": vectors, "namespace": _echo(name), "usage": USAGE}, namespace)

    def fetch_by_metadata(self, index: Index, body: dict[str, Any], entry: Entry) -> Response:
        """One page of the records that match a filter, in id order."""
        entry.namespace = name = _name(body.get("namespace"))
        predicate = compile_filter(body.get("filter"))
        limit = limits.check_number(body.get("limit", 100), "limit", 1, limits.MAX_METADATA_PAGE)
        after = _token(body.get("paginationToken"))
        namespace = index.settled(name)
        found = sorted(_matching(namespace.visible, predicate)) if namespace else []
        rest = [key for key in found if after is None or key > after]
        page = rest[:limit]
        answer: dict[str, Any] = {
            "vectors": {key: namespace.visible[key].shown(key) for key in page} if namespace else {},
            "namespace": _echo(name),
            "usage": USAGE,
        }
        if len(rest) > limit:
            answer["pagination"] = {"next": _next(page[-1])}
        entry.ids = len(page)
        return _read(answer, namespace)

    def list_ids(self, index: Index, request: Request, entry: Entry) -> Response:
        """One page of ids in bitwise C order."""
        entry.namespace = name = _name(request.param("namespace"))
        limit = limits.check_number(request.param("limit") or 100, "limit", 1, limits.MAX_PAGE)
        after = _token(request.param("paginationToken"))
        namespace = index.settled(name)
        ids, more = namespace.page(request.param("prefix") or "", after, limit) if namespace else ([], False)
        answer: dict[str, Any] = {
            "vectors": [{"id": key} for key in ids],
            "namespace": _echo(name),
            "usage": USAGE,
        }
        if more:
            answer["pagination"] = {"next": _next(ids[-1])}
        entry.ids = len(ids)
        return _read(answer, namespace)

    def query(self, index: Index, body: dict[str, Any], entry: Entry) -> Response:
        """The nearest visible records of a vector or of a stored record, filtered by metadata."""
        entry.namespace = name = _name(body.get("namespace"))
        top_k = limits.check_number(body.get("topK"), "topK", 1, limits.MAX_TOP_K)
        if body.get("id") is not None and body.get("vector") is not None:
            raise ApiError(400, "Give either id or vector, not both.")
        predicate = compile_filter(body["filter"]) if body.get("filter") else None
        namespace = index.settled(name)
        visible = namespace.visible if namespace else {}
        probe = _probe(index, body, visible)
        matches: list[dict[str, Any]] = []
        if probe is not None:
            score = _scorer(index.metric, probe)
            scored = (
                (score(record), key)
                for key, record in visible.items()
                if predicate is None or predicate(record.metadata or _NOTHING)
            )
            best = heapq.nsmallest(top_k, scored, key=lambda pair: (-pair[0], pair[1]))
            if index.metric == "euclidean":
                best = [(-value, key) for value, key in best]
            values, metadata = bool(body.get("includeValues")), bool(body.get("includeMetadata"))
            matches = [
                {"score": value, **visible[key].shown(key, values=values, metadata=metadata)}
                for value, key in best
            ]
        entry.ids = len(matches)
        return _read({"matches": matches, "namespace": _echo(name), "usage": USAGE}, namespace)

    def stats(self, index: Index, body: dict[str, Any], entry: Entry) -> Response:
        """Counts per namespace. They lag behind what reads see, as the real ones do."""
        if body.get("filter"):
            raise ApiError(
                400, "Serverless indexes do not support describing index stats with metadata filtering."
            )
        counts = {}
        for name in sorted(index.namespaces):
            namespace = index.settled(name)
            if namespace is not None and namespace.count:
                counts[_echo(name)] = {"vectorCount": namespace.count}
        total = sum(item["vectorCount"] for item in counts.values())
        return json_response(
            {
                "namespaces": counts,
                "dimension": index.dimension,
                "indexFullness": 0,
                "totalVectorCount": total,
                "metric": index.metric,
                "vectorType": "dense",
            }
        )

    # Namespaces

    def create_namespace(self, index: Index, body: dict[str, Any], entry: Entry) -> Response:
        """An empty namespace; 409 if there is one of that name."""
        if not isinstance(body.get("name"), str) or not body["name"]:
            raise ApiError(400, "name must be a string with at least one character.")
        entry.namespace = name = _name(body["name"])
        known = index.namespaces.get(name)
        if known is not None and known.present:
            raise ApiError(409, "A namespace of this name exists.")
        self._store.write(index, name, {}, schema=body.get("schema"))
        return json_response({"name": name, "record_count": "0"})

    def list_namespaces(self, index: Index, request: Request) -> Response:
        """One page of namespaces in bitwise C order."""
        limit = limits.check_number(request.param("limit") or 100, "limit", 1, limits.MAX_PAGE)
        prefix, after = request.param("prefix") or "", _token(request.param("paginationToken"))
        names = [
            name
            for name in sorted(index.namespaces)
            if name.startswith(prefix)
            and (found := index.settled(name)) is not None
            and found.visible_present
        ]
        rest = [name for name in names if after is None or name > after]
        answer: dict[str, Any] = {
            "namespaces": [_described(name, index.namespaces[name]) for name in rest[:limit]],
            "total_count": len(names),
        }
        if len(rest) > limit:
            answer["pagination"] = {"next": _next(rest[limit - 1])}
        return json_response(answer)

    def describe_namespace(self, index: Index, name: str, entry: Entry) -> Response:
        """One namespace with its lagging count."""
        entry.namespace = name
        namespace = index.settled(name)
        if namespace is None or not namespace.visible_present:
            raise ApiError(404, "Namespace not found")
        return _read(_described(name, namespace), namespace)

    def delete_namespace(self, index: Index, name: str, entry: Entry) -> Response:
        """Delete a namespace with all its records."""
        entry.namespace = name
        namespace = index.namespaces.get(name)
        if namespace is None or not namespace.present:
            raise ApiError(404, "Namespace not found")
        entry.ids = len(namespace.committed)
        return _written(
            _NOTHING, self._store.write(index, name, dict.fromkeys(namespace.committed), present=False)
        )


def _name(value: Any) -> str:
    if value is None or value == "":
        return DEFAULT_NAMESPACE
    if not isinstance(value, str) or len(value) > limits.MAX_ID_CHARS or not limits.is_plain(value):
        raise ApiError(400, f"namespace must be a string of at most {limits.MAX_ID_CHARS} ASCII characters.")
    return value


def _echo(name: str) -> str:
    """The default namespace is called "" in the vectors API and __default__ in the namespaces API."""
    return "" if name == DEFAULT_NAMESPACE else name


def _next(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def _token(token: Any) -> str | None:
    if token is None:
        return None
    try:
        return base64.urlsafe_b64decode(str(token)).decode()
    except ValueError as error:
        raise ApiError(400, "The pagination token is not one this index gave.") from error


def _matching(records: dict[str, Record], predicate: Predicate) -> list[str]:
    return [key for key, record in records.items() if predicate(record.metadata or _NOTHING)]


def _updated(
    record: Record, values: list[float] | None, sparse: dict[str, Any] | None, metadata: dict[str, Any] | None
) -> Record:
    merged = (
        record.metadata
        if metadata is None
        else limits.check_metadata({**(record.metadata or {}), **metadata})
    )
    return Record(values or record.values, sparse or record.sparse, merged)


def _described(name: str, namespace: Namespace) -> dict[str, Any]:
    # The real API writes this number as a string.
    shown: dict[str, Any] = {"name": name, "record_count": str(namespace.count)}
    if namespace.schema:
        shown["schema"] = namespace.schema
    return shown


def _written(body: dict[str, Any], namespace: Namespace) -> Response:
    lsn = str(namespace.committed_lsn)
    return json_response(
        body,
        headers={
            "x-pinecone-request-lsn": lsn,
            "x-pinecone-lsn-committed": lsn,
            "x-pinecone-lsn-reconciled": str(namespace.visible_lsn),
        },
    )


def _read(body: dict[str, Any], namespace: Namespace | None) -> Response:
    lsn = str(namespace.visible_lsn if namespace else 0)
    return json_response(body, headers={"x-pinecone-max-indexed-lsn": lsn, "x-pinecone-lsn-reconciled": lsn})


def _probe(index: Index, body: dict[str, Any], visible: dict[str, Record]) -> Record | None:
    sparse = limits.check_sparse(body.get("sparseVector"))
    if body.get("id") is not None:
        return visible.get(limits.check_id(body["id"]))
    if body.get("vector") is None:
        raise ApiError(400, "Give the vector or the id to search for.")
    return Record(limits.check_values(body["vector"], index.dimension), sparse, None)


def _scorer(metric: str, probe: Record) -> Callable[[Record], float]:
    """Higher is nearer; a euclidean distance is negated here and shown positive by the caller."""
    wanted = probe.values
    if metric == "euclidean":
        return lambda record: -sum((a - b) ** 2 for a, b in zip(wanted, record.values, strict=True))
    if metric == "dotproduct":
        weights = (
            dict(zip(probe.sparse["indices"], probe.sparse["values"], strict=True)) if probe.sparse else {}
        )
        return lambda record: _dot(wanted, record.values) + _sparse_dot(weights, record.sparse)
    length = math.sqrt(_dot(wanted, wanted)) or 1.0
    return lambda record: _dot(wanted, record.values) / (length * (math.hypot(*record.values) or 1.0))


def _dot(left: list[float], right: list[float]) -> float:
    total: float = sum(a * b for a, b in zip(left, right, strict=True))
    return total


def _sparse_dot(weights: dict[int, float], sparse: dict[str, Any] | None) -> float:
    if not weights or not sparse:
        return 0.0
    pairs = zip(sparse["indices"], sparse["values"], strict=True)
    total: float = sum(weights.get(i, 0.0) * v for i, v in pairs)
    return total
