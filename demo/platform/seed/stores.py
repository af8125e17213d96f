"""Objects, vectors and keys of the sample platform."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import boto3
import redis
from botocore.config import Config
from pinecone import Pinecone

from demo.platform.cast import Customer, mail
from demo.platform.seed.content import DAWN, Document, documents
from lifecycle.systems.pinecone.names import namespace


def objects(place: dict[str, str], customer: Customer, scale: int) -> int:
    """Each document as a noncurrent version and the current one. What has its newest version there stays as it is."""
    client = _s3(place["endpoint"], place["key"], place["secret"])
    there = _current(client, place["bucket"], f"tenant-{customer.id}/")

    def put(document: Document) -> int:
        body = document.body
        if there.get(document.s3_key) == hashlib.md5(body, usedforsecurity=False).hexdigest():
            return 0
        for text in (b"draft of " + body, body):
            client.put_object(
                Bucket=place["bucket"], Key=document.s3_key, Body=text, ContentType="text/plain",
                Metadata={"document": document.id},
            )  # fmt: skip
        return 2

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(put, documents(customer, scale)))


@cache
def _s3(endpoint: str, key: str, secret: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1",
        config=Config(max_pool_connections=16, s3={"addressing_style": "path"}),
    )  # fmt: skip


def _current(client: Any, bucket: str, prefix: str) -> dict[str, str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {each["Key"]: each["ETag"].strip('"') for page in pages for each in page.get("Contents", [])}


def vectors(place: dict[str, str], customer: Customer, scale: int) -> int:
    """One vector per chunk, through the official SDK."""
    index = _index(place["control_host"], place["index_host"], place["key"])
    batch: list[dict[str, Any]] = []
    written = 0
    for document in documents(customer, scale):
        batch += [_vector(document, chunk) for chunk in document.chunks]
        if len(batch) >= 900:
            written += _upsert(index, batch, customer)
            batch = []
    return written + (_upsert(index, batch, customer) if batch else 0)


@cache
def _index(control_host: str, index_host: str, key: str) -> Any:
    return Pinecone(api_key=key, host=control_host).index(host=index_host)


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
