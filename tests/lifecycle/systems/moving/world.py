"""Two regions of the local stack with one tenant of a test's own: what its application writes, and what lies on green."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import boto3
import httpx
import psycopg2
from botocore.config import Config
from psycopg2.extras import execute_values

from lifecycle.datamap.model import DataMap, Objects, Prefix
from lifecycle.participation.digests import of_object, of_vector
from lifecycle.systems.base import Scope, Subject
from lifecycle.systems.movable import Move, Side
from lifecycle.systems.s3.layout import Layout
from lifecycle.systems.s3.moves import cleaning

BLUE, GREEN = "us-east-1", "us-west-2"
MAP = DataMap(1, "0", objects=Objects(prefixes=(Prefix("tenant-{tenant}/user-{user}/"),)))


class Region:
    """One region's stores, as its application and its tables use them."""

    def __init__(self, name: str, place: Mapping[str, Any]) -> None:
        self.name, self.place = name, place
        self.dsn = str(place.get("postgres_mover") or place["postgres"])
        self.bucket = place["s3"]["bucket"]
        self.s3: Any = boto3.client(
            "s3",
            endpoint_url=place["s3"]["endpoint"],
            aws_access_key_id=place["s3"]["key"],
            aws_secret_access_key=place["s3"]["secret"],
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"}, max_pool_connections=20, retries={"total_max_attempts": 1}
            ),
        )
        self._http = httpx.Client(
            base_url=place["pinecone"]["index_host"], headers={"Api-Key": place["pinecone"]["key"]}
        )
        self._local = threading.local()
        self._opened: list[Any] = []

    def side(self, system: str) -> Side:
        """One system of this region for a mover."""
        return Side(self.name, {**self.place[system], "ledger_dsn": self.dsn})

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Runs one statement in the region's database, on this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = psycopg2.connect(self.dsn)
            connection.autocommit = True
            self._opened.append(connection)
        with connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def put(self, key: str, body: bytes, **more: Any) -> str:
        """Stores an object; returns its version."""
        return str(self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **more)["VersionId"])

    def get(self, key: str) -> bytes | None:
        """What a reader of the region gets."""
        try:
            return bytes(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return None

    def history(self, key: str) -> list[str]:
        """Versions of a key, oldest first: the sha256 of each, "marker" for a delete marker."""
        answer = self.s3.list_object_versions(Bucket=self.bucket, Prefix=key)
        return [
            "marker"
            if marker
            else of_object(self.s3.get_object(Bucket=self.bucket, Key=key, VersionId=version)["Body"].read())
            for version, marker in _in_order(answer, key)
        ]

    def keys(self, prefix: str) -> list[str]:
        """Current keys under a prefix."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return sorted(each["Key"] for page in pages for each in page.get("Contents", []))

    def drop_versions(self, key: str) -> None:
        """Removes a key for good."""
        answer = self.s3.list_object_versions(Bucket=self.bucket, Prefix=key)
        for entry in [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]:
            if entry["Key"] == key:
                self.s3.delete_object(Bucket=self.bucket, Key=key, VersionId=entry["VersionId"])

    def upsert(self, namespace: str, vectors: list[dict[str, Any]]) -> None:
        """Stores vectors."""
        answer = self._http.post("/vectors/upsert", json={"namespace": namespace, "vectors": vectors})
        assert answer.status_code == 200, answer.text

    def delete_vectors(self, namespace: str, ids: list[str]) -> None:
        """Deletes vectors."""
        assert (
            self._http.post("/vectors/delete", json={"namespace": namespace, "ids": ids}).status_code == 200
        )

    def vectors(self, namespace: str, ids: list[str]) -> dict[str, str]:
        """Digests of the vectors that reads show."""
        found: dict[str, str] = {}
        for start in range(0, len(ids), 50):
            query = {"namespace": namespace, "ids": ids[start : start + 50]}
            body = self._http.get("/vectors/fetch", params=query).json()
            found |= {
                k: of_vector(v["values"], v.get("metadata")) for k, v in body.get("vectors", {}).items()
            }
        return found

    def drop_namespace(self, namespace: str) -> None:
        """Deletes a namespace, if it is there."""
        assert self._http.delete(f"/namespaces/{namespace}").status_code in (200, 404)

    def close(self) -> None:
        """Ends the connections."""
        for connection in self._opened:
            connection.close()
        self._http.close()
        self.s3.close()


def _in_order(answer: Mapping[str, Any], key: str) -> list[tuple[str, bool]]:
    entries = [
        (each["LastModified"], each["IsLatest"], each["VersionId"], marker)
        for name, marker in (("Versions", False), ("DeleteMarkers", True))
        for each in reversed(answer.get(name, []))
        if each["Key"] == key
    ]
    # Newest first in each list, and markers stand apart: the time, then `IsLatest` decide between the two.
    return [(version, marker) for _, _, version, marker in sorted(entries, key=lambda each: each[:2])]


class World:
    """A tenant that lives on blue and moves to green. `write` and `remove` are its application's."""

    def __init__(self, stack: Mapping[str, Any], install: Callable[[str, str], None]) -> None:
        self.tenant = f"m{uuid.uuid4().hex[:10]}"
        self.blue, self.green = (Region(name, stack["regions"][name]) for name in (BLUE, GREEN))
        self.namespace = f"tenant-{self.tenant}"
        self.move_id = f"t{uuid.uuid4().hex[:10]}"
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        for region in (self.blue, self.green):
            install(region.place["postgres"], region.name)

    def move(self, system: str) -> Move:
        """The move as one system sees it."""
        return Move(self.move_id, self.tenant, self.blue.side(system), self.green.side(system))

    def key(self, name: str) -> str:
        """An object key of the tenant."""
        return f"tenant-{self.tenant}/user-u/{name}"

    def owner(self, region: str) -> None:
        """Both regions say who owns the tenant's writes."""
        for each in (self.blue, self.green):
            each.sql(
                "INSERT INTO lifecycle.route (tenant_id, owner, epoch) VALUES (%s, %s, 1) "
                "ON CONFLICT (tenant_id) DO UPDATE SET owner = excluded.owner",
                self.tenant,
                region,
            )

    def say(self, store: str, key: str, op: str, sha256: str, origin: str = BLUE, where: str = "both") -> int:
        """A change row, as the owner's transaction wrote it and the replication brought it to the follower."""
        with self._lock:
            number = next(self._numbers)
        for region in (self.blue, self.green):
            if where in ("both", region.name):
                region.sql(
                    "INSERT INTO lifecycle.change (origin, seq, tenant_id, store, key, op, version, sha256) "
                    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                    *(origin, number, self.tenant, store, key, op, number, sha256),
                )
        return number

    def say_all(self, rows: list[tuple[str, str, str, str]], origin: str = BLUE) -> None:
        """Many change rows (store, key, op, sha256) at once, in both regions."""
        with self._lock:
            made = [(origin, n := next(self._numbers), self.tenant, *row[:3], n, row[3]) for row in rows]
        for region in (self.blue, self.green):
            with (
                closing(psycopg2.connect(region.dsn)) as connection,
                connection,
                connection.cursor() as cursor,
            ):
                execute_values(
                    cursor,
                    "INSERT INTO lifecycle.change (origin, seq, tenant_id, store, key, op, version, sha256) VALUES %s",
                    made,
                )

    @staticmethod
    def digest(vector: Mapping[str, Any]) -> str:
        """What the application says of a vector."""
        return of_vector(vector["values"], vector["metadata"])

    def write(self, name: str, body: bytes, **more: Any) -> str:
        """The application stores an object on blue and says so; returns its key."""
        key = self.key(name)
        self.blue.put(key, body, **more)
        self.say("s3", key, "put", of_object(body))
        return key

    def remove(self, name: str) -> str:
        """The application deletes an object on blue for good and says so."""
        key = self.key(name)
        self.blue.drop_versions(key)
        self.say("s3", key, "delete", "")
        return key

    def vector(self, name: str, text: str = "") -> dict[str, Any]:
        """A vector of the tenant."""
        digest = hashlib.sha256(f"{name}{text}".encode()).digest()
        metadata = {"tenant_id": self.tenant, "user_id": "u", "document_id": name, "n": 1}
        return {"id": f"{name}#0", "values": [(b + 1) / 256 for b in digest[:8]], "metadata": metadata}

    def write_vector(self, name: str, text: str = "") -> str:
        """The application stores a vector on blue and says so; returns its change key."""
        vector = self.vector(name, text)
        self.blue.upsert(self.namespace, [vector])
        key = json.dumps([self.namespace, vector["id"]])
        self.say("pinecone", key, "put", of_vector(vector["values"], vector["metadata"]))
        return key

    def remove_vector(self, name: str) -> str:
        """The application deletes a vector on blue and says so."""
        key = json.dumps([self.namespace, f"{name}#0"])
        self.blue.delete_vectors(self.namespace, [f"{name}#0"])
        self.say("pinecone", key, "delete", "")
        return key

    def applied(self) -> None:
        """Green's applier has brought everything that blue wrote."""
        self.green.sql(
            "INSERT INTO lifecycle.applied (tenant_id, store, key, version, op, sha256) SELECT DISTINCT ON (store, key) "
            "tenant_id, store, key, version, op, sha256 FROM lifecycle.change WHERE tenant_id = %s AND origin = %s "
            "ORDER BY store, key, version DESC ON CONFLICT DO NOTHING",
            *(self.tenant, BLUE),
        )

    def close(self) -> None:
        """Takes away what the tenant left."""
        roots = Layout(MAP.objects).roots(Scope(Subject(self.tenant)))
        for region in (self.blue, self.green):
            cleaning.clean(region.place["s3"], roots, None)
            region.drop_namespace(self.namespace)
            for table in ("change", "applied", "route"):
                region.sql(f"DELETE FROM lifecycle.{table} WHERE tenant_id = %s", self.tenant)
            region.close()


def whole(copy: Callable[[Any, float], Any], seconds: float = 5.0) -> Any:
    """Copies until it is complete; the last progress."""
    cursor: Any = None
    for _ in range(1000):
        progress = copy(cursor, seconds)
        if progress.cursor is None:
            return progress
        cursor = json.loads(json.dumps(progress.cursor))
    raise AssertionError("the copy has no end")


def differences(compare: Callable[[Any, float], Any], seconds: float = 5.0) -> list[Any]:
    """Compares until the end; all differences."""
    found: list[Any] = []
    cursor: Any = None
    for _ in range(1000):
        page = compare(cursor, seconds)
        found += page.entries
        if page.cursor is None:
            return found
        cursor = json.loads(json.dumps(page.cursor))
    raise AssertionError("the comparison has no end")
