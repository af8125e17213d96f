"""Objects, vectors and keys of the sample platform."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import redis
from botocore.config import Config
from pinecone import Pinecone

from demo.platform.cast import Customer, mail
from demo.platform.seed.content import DAWN, Document, documents
from lifecycle.systems.pinecone.names import namespace


def objects(place: dict[str, str], customer: Customer, scale: int) -> int:
    """Each document twice: a noncurrent version and the current one. Nothing is written where the newest is there."""
    client = boto3.client(
        "s3",
        endpoint_url=place["endpoint"],
        aws_access_key_id=place["key"],
        aws_secret_access_key=place["secret"],
        region_name="us-east-1",
        config=Config(max_pool_connections=16, s3={"addressing_style": "path"}),
    )

    def put(document: Document) -> int:
        for text in (b"draft of " + document.body, document.body):
            client.put_object(
                Bucket=place["bucket"], Key=document.s3_key, Body=text, ContentType="text/plain",
                Metadata={"document": document.id},
            )  # fmt: skip
        return 2

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(put, documents(customer, scale)))


def vectors(place: dict[str, str], customer: Customer, scale: int) -> int:
    """One vector per chunk, through the official SDK."""
    index = Pinecone(api_key=place["key"], host=place["control_host"]).index(host=place["index_host"])
    batch: list[dict[str, Any]] = []
    written = 0
    for document in documents(customer, scale):
        batch += [_vector(document, chunk) for chunk in document.chunks]
        if len(batch) >= 900:
            written += _upsert(index, batch, customer)
            batch = []
    return written + (_upsert(index, batch, customer) if batch else 0)


def _upsert(index: Any, batch: list[dict[str, Any]], customer: Customer) -> int:
    index.upsert(vectors=batch, namespace=namespace("tenant-{tenant}", customer.id))
    return len(batch)


def _vector(document: Document, chunk: int) -> dict[str, Any]:
    return {
        "id": f"{document.id}#{chunk}",
        "values": document.embedding(chunk),
        "metadata": {"tenant_id": document.tenant, "user_id": document.owner, "document_id": document.id},
    }


def keys(url: str, customer: Customer, scale: int) -> int:
    """Sessions, caches, and members inside containers that users share."""
    tenant = customer.id
    with redis.Redis.from_url(url) as client, client.pipeline(transaction=False) as pipe:
        pipe.delete(f"events:{tenant}")
        for user in customer.users:
            profile = {"user_id": user, "email": mail(tenant, user)}
            pipe.set(f"session:{tenant}:{user}", json.dumps(profile))
            pipe.set(f"ratelimit:{tenant}:{user}", 7)
            pipe.sadd(f"online:{tenant}", user)
            pipe.zadd(f"leaderboard:{tenant}", {user: len(user)})
            pipe.hset(f"profiles:{tenant}", user, json.dumps(profile))
            pipe.xadd(f"events:{tenant}", {"user_id": user, "event": "login", "at": DAWN.isoformat()})
        for document in documents(customer, scale):
            answer = {"user_id": document.owner, "answer": document.title}
            pipe.set(f"query_cache:{tenant}:{document.id.removeprefix('doc-')}", json.dumps(answer))
        return len(pipe.execute())
