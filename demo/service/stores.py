"""One region's objects, vectors and cache, as the service uses them. Safe in threads."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from demo.platform.parts import embed
from lifecycle.systems.pinecone.names import ascii_name, namespace

CACHE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it lies in the stores."""

    tenant: str
    user: str
    id: str
    title: str
    text: str = field(repr=False)

    @property
    def key(self) -> str:
        return f"tenant-{self.tenant}/user-{self.user}/{self.id}"

    @property
    def vector_key(self) -> str:
        return json.dumps([namespace("tenant-{tenant}", self.tenant), vector_id(self.id)])

    @property
    def metadata(self) -> dict[str, str]:
        return {"tenant_id": self.tenant, "user_id": self.user, "document_id": self.id}

    @property
    def values(self) -> list[float]:
        return embed(self.text)


def vector_id(document: str) -> str:
    """The id of a document's only vector."""
    return f"{ascii_name(document)}#0"


class Stores:
    """What lies beside the database. Clients are made when first used: a process that waits stays small."""

    def __init__(self, place: Mapping[str, Any]) -> None:
        self._place = place

    @cached_property
    def _objects(self) -> Any:
        import boto3
        from botocore.config import Config

        store = self._place["s3"]
        return boto3.client(
            "s3",
            endpoint_url=store["endpoint"],
            aws_access_key_id=store["key"],
            aws_secret_access_key=store["secret"],
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=1,
                read_timeout=3,
                max_pool_connections=64,
                retries={"total_max_attempts": 2},
            ),
        )

    @cached_property
    def _vectors(self) -> Any:
        from pinecone import Pinecone

        vectors = self._place["pinecone"]
        client: Any = Pinecone(api_key=vectors["key"], host=vectors["control_host"])
        return client.index(host=vectors["index_host"])

    @cached_property
    def _keys(self) -> Any:
        import redis

        return redis.Redis.from_url(
            self._place["redis"], decode_responses=True, socket_timeout=1, socket_connect_timeout=1
        )

    def put(self, document: Document) -> None:
        """Stores the document's bytes and its vector."""
        self._objects.put_object(
            Bucket=self._place["s3"]["bucket"], Key=document.key, Body=document.text.encode()
        )
        vector = {
            "id": vector_id(document.id),
            "values": document.values,
            "metadata": document.metadata,
        }
        self._vectors.upsert(vectors=[vector], namespace=namespace("tenant-{tenant}", document.tenant))

    def remove(self, tenant: str, document: str, key: str) -> None:
        """Removes both, as a platform does: the bucket keeps the older version."""
        self._objects.delete_object(Bucket=self._place["s3"]["bucket"], Key=key)
        self._vectors.delete(ids=[vector_id(document)], namespace=namespace("tenant-{tenant}", tenant))

    def take_back(self, document: Document) -> None:
        """Nothing of a new document that was refused is left, no older version either: nobody's ledger names it."""
        bucket = self._place["s3"]["bucket"]
        told = self._objects.list_object_versions(Bucket=bucket, Prefix=document.key)
        for each in (*told.get("Versions", ()), *told.get("DeleteMarkers", ())):
            if each["Key"] == document.key:
                self._objects.delete_object(Bucket=bucket, Key=document.key, VersionId=each["VersionId"])
        self._vectors.delete(
            ids=[vector_id(document.id)], namespace=namespace("tenant-{tenant}", document.tenant)
        )

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        body: bytes = self._objects.get_object(Bucket=self._place["s3"]["bucket"], Key=key)["Body"].read()
        return body

    def nearest(self, tenant: str, question: str, count: int = 3) -> list[str]:
        """Ids of the documents whose vectors are nearest to the question's."""
        found = self._vectors.query(
            vector=embed(question),
            top_k=count,
            namespace=namespace("tenant-{tenant}", tenant),
            filter={"tenant_id": {"$eq": tenant}},
            include_metadata=True,
        )
        return [match.metadata["document_id"] for match in found.matches]

    def cached(self, name: str) -> list[str] | None:
        """Document ids of a cached answer. A cache that does not answer is no cache."""
        with contextlib.suppress(OSError, ValueError, *_redis_errors()):
            value = self._keys.get(name)
            if value:
                return [str(each) for each in json.loads(value)["documents"]]
        return None

    def cache(self, name: str, user: str, documents: list[str]) -> None:
        """Remembers an answer's documents for a while."""
        with contextlib.suppress(OSError, *_redis_errors()):
            value = json.dumps({"user_id": user, "documents": documents})
            self._keys.set(name, value, ex=CACHE_SECONDS)

    def check(self) -> None:
        """Raises what a store raises that does not answer."""
        self._objects.head_bucket(Bucket=self._place["s3"]["bucket"])
        self._vectors.fetch(ids=["health#0"], namespace="health")
        self._keys.ping()


def _redis_errors() -> tuple[type[Exception], ...]:
    import redis

    return (redis.RedisError,)
