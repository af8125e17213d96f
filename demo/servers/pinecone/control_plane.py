"""Pinecone's control plane (OpenAPI 2025-10, and what SDK 10 sends as 2026-07): indexes, backups, restore jobs."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable
from typing import Any

from demo.servers.pinecone import limits
from demo.servers.pinecone.limits import ApiError
from demo.servers.pinecone.store import Index, Store, utc_now
from demo.servers.trial import Entry, Trial
from demo.servers.web import LOOPBACK, Request, Response, json_response

METRICS = ("cosine", "dotproduct", "euclidean")
VECTOR_FIELD = "_values"
READ_CAPACITY = {"mode": "OnDemand", "status": {"state": "Ready"}}
Opener = Callable[[str], int]


def description(
    name: str,
    dimension: int,
    metric: str,
    port: int,
    *,
    cloud: str = "aws",
    region: str = "us-east-1",
    deletion_protection: str = "disabled",
    tags: dict[str, str] | None = None,
) -> dict[str, Any]:
    """An index's description, a superset that SDK 8 and SDK 10 both read."""
    field = {"type": "dense_vector", "dimension": dimension, "metric": metric}
    return {
        "id": str(uuid.uuid4()),
        "name": name,
        "dimension": dimension,
        "metric": metric,
        "vector_type": "dense",
        "host": f"http://{LOOPBACK}:{port}",
        "port": port,
        "deletion_protection": deletion_protection,
        "tags": tags or {},
        "status": {"ready": True, "state": "Ready"},
        "spec": {"serverless": {"cloud": cloud, "region": region, "read_capacity": READ_CAPACITY}},
        "schema": {"fields": {VECTOR_FIELD: field}},
        "deployment": {
            "deployment_type": "managed",
            "cloud": cloud,
            "region": region,
            "environment": "local",
        },
        "environment": "local",
        "read_capacity": READ_CAPACITY,
    }


class ControlPlane:
    """Answers control-plane requests. `opener` gives the port on which a new index of a name will be served."""

    def __init__(self, store: Store, trial: Trial, opener: Opener) -> None:
        self._store = store
        self._trial = trial
        self._opener = opener

    def serves(self, path: str) -> bool:
        """Whether a path belongs to the control plane."""
        return path.split("/")[1] in ("indexes", "backups", "restore-jobs")

    def handle(self, request: Request, entry: Entry) -> Response:
        """Answer one request; raises ApiError."""
        match request.method, request.segments():
            case "GET", ["indexes"]:
                return json_response({"indexes": [_shown(index) for index in self._store.indexes.values()]})
            case "POST", ["indexes"]:
                return self.create_index(limits.parse_object(request.body), entry)
            case method, ["indexes", name]:
                entry.index = name
                return self._one_index(method, self._index(name), request)
            case "GET", ["indexes", name, "backups"]:
                return self._page([b for b in self._backups() if b["source_index_name"] == name], request)
            case "POST", ["indexes", name, "backups"]:
                entry.index = name
                return self.create_backup(self._index(name), limits.parse_object(request.body), entry)
            case "GET", ["backups"]:
                return self._page(self._backups(), request)
            case "GET", ["backups", backup_id]:
                return json_response(self._backup(backup_id))
            case "DELETE", ["backups", backup_id]:
                entry.ids = int(self._backup(backup_id)["record_count"])
                self._store.delete_backup(backup_id)
                return Response(202, b"")
            case "POST", ["backups", backup_id, "create-index"]:
                return self.create_from_backup(
                    self._backup(backup_id), limits.parse_object(request.body), entry
                )
            case "GET", ["restore-jobs"]:
                return self._page(list(self._store.restore_jobs()), request)
            case "GET", ["restore-jobs", job_id]:
                return json_response(self._restore_job(job_id))
        raise ApiError(404, "There is no such path.")

    def _one_index(self, method: str, index: Index, request: Request) -> Response:
        if method == "GET":
            return json_response(_shown(index))
        if method == "PATCH":
            return self.configure(index, limits.parse_object(request.body))
        if method == "DELETE":
            return self.delete_index(index)
        raise ApiError(404, "There is no such path.")

    def _index(self, name: str) -> Index:
        index = self._store.indexes.get(name)
        if index is None:
            raise ApiError(404, "There is no index of this name.")
        return index

    def create_index(self, body: dict[str, Any], entry: Entry) -> Response:
        """A new serverless index, from the body of SDK 8 (`dimension`, `spec`) or SDK 10 (`schema`, `deployment`)."""
        name = self._new_name(body.get("name"))
        entry.index = name
        dimension, metric = _vector_field(body)
        place = body.get("deployment") or (body.get("spec") or {}).get("serverless")
        if not isinstance(place, dict):
            raise ApiError(400, "Say where the index shall be: only serverless indexes are served here.")
        protection = _protection(body.get("deletion_protection", "disabled"))
        index = self._store.save_index(
            description(
                name,
                dimension,
                metric,
                self._opener(name),
                cloud=str(place.get("cloud", "aws")),
                region=str(place.get("region", "us-east-1")),
                deletion_protection=protection,
                tags=body.get("tags"),
            )
        )
        return json_response(_shown(index), 201)

    def _new_name(self, name: Any) -> str:
        if not isinstance(name, str) or not limits.INDEX_NAME.fullmatch(name):
            raise ApiError(400, "An index name has 1 to 45 lower-case letters, digits and inner hyphens.")
        if name in self._store.indexes:
            raise ApiError(409, "An index of this name exists.")
        return name

    def configure(self, index: Index, body: dict[str, Any]) -> Response:
        """Set deletion protection or tags."""
        changed = dict(index.description)
        if body.get("deletion_protection") is not None:
            changed["deletion_protection"] = _protection(body["deletion_protection"])
        if body.get("tags") is not None:
            merged = {**changed["tags"], **body["tags"]}
            changed["tags"] = {key: value for key, value in merged.items() if value != ""}
        self._store.save_index(changed)
        return json_response(_shown(index))

    def delete_index(self, index: Index) -> Response:
        """Delete an index unless it is protected."""
        if index.description["deletion_protection"] == "enabled":
            raise ApiError(
                403,
                "Deletion protection is enabled for this index. Disable deletion protection before retrying.",
            )
        self._store.delete_index(index)
        return Response(202, b"")

    # Backups

    def create_backup(self, index: Index, body: dict[str, Any], entry: Entry) -> Response:
        """A copy of every record, a separate object that later deletions do not touch."""
        namespaces = [found for found in index.namespaces.values() if found.present]
        count = sum(len(found.committed) for found in namespaces)
        place = index.description["spec"]["serverless"]
        backup = {
            "backup_id": str(uuid.uuid4()),
            "source_index_name": index.name,
            "source_index_id": index.description["id"],
            "name": body.get("name"),
            "description": body.get("description"),
            "status": "Initializing",
            "cloud": place["cloud"],
            "region": place["region"],
            "dimension": index.dimension,
            "metric": index.metric,
            "record_count": count,
            "namespace_count": len(namespaces),
            "size_bytes": count * index.dimension * 4,
            "tags": index.description["tags"],
            "created_at": utc_now(),
            "schema": index.description["schema"],
            "_ready_at": time.time() + self._trial.lag_ms / 1000,
        }
        entry.ids = count
        self._store.save_backup(backup, index)
        return json_response(_shown_backup(backup), 201)

    def create_from_backup(self, backup: dict[str, Any], body: dict[str, Any], entry: Entry) -> Response:
        """A new index with the records of a backup, what was deleted since then included."""
        if backup["status"] != "Ready":
            raise ApiError(400, "The backup is not ready yet.")
        name = self._new_name(body.get("name"))
        entry.index, entry.ids = name, backup["record_count"]
        index = self._store.save_index(
            description(
                name,
                backup["dimension"],
                backup["metric"],
                self._opener(name),
                cloud=backup["cloud"],
                region=backup["region"],
                tags=body.get("tags"),
                deletion_protection=_protection(body.get("deletion_protection") or "disabled"),
            )
        )
        self._store.restore(backup["backup_id"], index)
        job = {
            "restore_job_id": str(uuid.uuid4()),
            "backup_id": backup["backup_id"],
            "target_index_name": name,
            "target_index_id": index.description["id"],
            "status": "Completed",
            "created_at": utc_now(),
            "completed_at": utc_now(),
            "percent_complete": 100.0,
        }
        self._store.save_restore_job(job)
        return json_response(
            {"restore_job_id": job["restore_job_id"], "index_id": index.description["id"]}, 202
        )

    def _backups(self) -> list[dict[str, Any]]:
        return [_shown_backup(backup) for backup in self._store.backups()]

    def _backup(self, backup_id: str) -> dict[str, Any]:
        for backup in self._backups():
            if backup["backup_id"] == backup_id:
                return backup
        raise ApiError(404, "There is no backup of this id.")

    def _restore_job(self, job_id: str) -> dict[str, Any]:
        for job in self._store.restore_jobs():
            if job["restore_job_id"] == job_id:
                return job
        raise ApiError(404, "There is no restore job of this id.")

    def _page(self, rows: list[dict[str, Any]], request: Request) -> Response:
        limit = limits.check_number(request.param("limit") or 10, "limit", 1, limits.MAX_PAGE)
        token = request.param("paginationToken")
        try:
            start = int(base64.urlsafe_b64decode(token)) if token else 0
        except ValueError as error:
            raise ApiError(400, "The pagination token is not one this server gave.") from error
        more = start + limit < len(rows)
        following = base64.urlsafe_b64encode(str(start + limit).encode()).decode()
        return json_response(
            {"data": rows[start : start + limit], "pagination": {"next": following} if more else None}
        )


def _shown(index: Index) -> dict[str, Any]:
    return {key: value for key, value in index.description.items() if key != "port"}


def _shown_backup(backup: dict[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in backup.items() if not key.startswith("_")}
    if time.time() >= backup["_ready_at"]:
        shown["status"] = "Ready"
    return shown


def _protection(value: Any) -> str:
    if value not in ("enabled", "disabled"):
        raise ApiError(400, "deletion_protection is enabled or disabled.")
    return str(value)


def _vector_field(body: dict[str, Any]) -> tuple[int, str]:
    fields = (body.get("schema") or {}).get("fields")
    if fields:
        dense = [field for field in fields.values() if field.get("type") == "dense_vector"]
        if len(dense) != 1:
            raise ApiError(400, "Only indexes with exactly one dense vector field are served here.")
        source = dense[0]
    else:
        source = body
    metric = source.get("metric") or "cosine"
    if metric not in METRICS:
        raise ApiError(400, f"metric is one of {', '.join(METRICS)}.")
    return limits.check_number(source.get("dimension"), "dimension", 1, limits.MAX_DIMENSION), str(metric)
