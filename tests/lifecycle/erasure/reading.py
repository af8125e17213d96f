"""Plain reading of every store, with none of the program's code: is the person anywhere?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
import httpx
import psycopg2
import redis
from botocore.config import Config

Found = tuple[str, str, bytes]  # system, place, bytes


def everything(region: dict[str, Any]) -> Iterator[Found]:
    """(system, place, bytes) of all that a region holds."""
    yield from rows(region)
    yield from objects(region)
    yield from vectors(region)
    yield from keys(region)
    yield from logs(region)
    yield from metrics(region)


def rows(region: dict[str, Any]) -> Iterator[Found]:
    """Every row of every table and materialised view, and every large object."""
    with psycopg2.connect(region["postgres"]) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'm') AND relnamespace = 'public'::regnamespace"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            for (text,) in cursor.fetchall():
                yield "postgresql", table, text.encode()
        cursor.execute("SELECT oid, lo_get(oid) FROM pg_largeobject_metadata")
        for oid, data in cursor.fetchall():
            yield "postgresql", f"large object {oid}", bytes(data)
    connection.close()


def _s3(region: dict[str, Any]) -> Any:
    place = region["s3"]
    return boto3.client(
        "s3", endpoint_url=place["endpoint"], aws_access_key_id=place["key"], aws_secret_access_key=place["secret"],
        region_name="us-east-1", config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip


def objects(region: dict[str, Any]) -> Iterator[Found]:
    """Every version with its content, every delete marker and unfinished upload by key."""
    client, bucket = _s3(region), region["s3"]["bucket"]
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for each in page.get("Versions", []):
            body = client.get_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])[
                "Body"
            ].read()
            yield "s3", each["Key"], each["Key"].encode() + b"\n" + body
        for each in page.get("DeleteMarkers", []):
            yield "s3", each["Key"], each["Key"].encode()
    for each in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        yield "s3", each["Key"], each["Key"].encode()


def vectors(region: dict[str, Any]) -> Iterator[Found]:
    """Every vector of every namespace with its metadata."""
    place = region["pinecone"]
    with httpx.Client(base_url=place["index_host"], headers={"Api-Key": place["key"]}, timeout=30) as client:
        names = [
            each["name"] for each in client.get("/namespaces", params={"limit": 100}).json()["namespaces"]
        ]
        for name in names:
            token: str | None = ""
            while token is not None:
                page = client.get(
                    "/vectors/list",
                    params={"namespace": name, **({"paginationToken": token} if token else {})},
                ).json()
                ids = [each["id"] for each in page.get("vectors", [])]
                if ids:
                    found = client.get("/vectors/fetch", params={"ids": ids, "namespace": name}).json()[
                        "vectors"
                    ]
                    for key, vector in found.items():
                        yield (
                            "pinecone",
                            f"{name}/{key}",
                            json.dumps([name, key, vector], ensure_ascii=False).encode(),
                        )
                token = (page.get("pagination") or {}).get("next")


def keys(region: dict[str, Any]) -> Iterator[Found]:
    """Every key of every database with its value."""
    for number in range(16):
        client = redis.Redis.from_url(f"{region['redis'].rpartition('/')[0]}/{number}")
        for key in client.scan_iter(count=1000):
            yield "redis", f"{number}/{key.decode()}", key + b"\n" + repr(_value(client, key)).encode()
        client.close()


def _value(client: redis.Redis, key: bytes) -> Any:
    kind = client.type(key)
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get, b"set": client.smembers, b"hash": client.hgetall,
        b"zset": lambda k: client.zrange(k, 0, -1, withscores=True), b"list": lambda k: client.lrange(k, 0, -1),
        b"stream": lambda k: client.xrange(k),
    }  # fmt: skip
    found = readers[kind](key) if kind in readers else None
    return sorted(found, key=repr) if isinstance(found, set) else found


def logs(region: dict[str, Any]) -> Iterator[Found]:
    """Every event of every stream, and the names."""
    place = region["logs"]
    client = boto3.client(
        "logs",
        endpoint_url=place["endpoint"],
        region_name=place["region"],
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    for page in client.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            for streams in client.get_paginator("describe_log_streams").paginate(logGroupName=name):
                for stream in streams["logStreams"]:
                    yield "cloudwatch", f"{name} {stream['logStreamName']}", stream["logStreamName"].encode()
            for events in client.get_paginator("filter_log_events").paginate(logGroupName=name):
                for event in events["events"]:
                    yield "cloudwatch", name, event["message"].encode()


def metrics(region: dict[str, Any]) -> Iterator[Found]:
    """Every series of the last year."""
    answer = httpx.get(
        f"{region['prometheus']}/api/v1/series",
        params={
            "match[]": '{__name__=~".+"}',
            "start": "2025-01-01T00:00:00Z",
            "end": "2030-01-01T00:00:00Z",
        },
        timeout=30,
    ).json()
    for series in answer["data"]:
        yield "analytics", series["__name__"], json.dumps(series, ensure_ascii=False, sort_keys=True).encode()


def mentions(found: Iterable[Found], needles: list[str], *, within: str) -> list[str]:
    """Places of `found` whose bytes hold one of `needles`, and `within` (the tenant's mark) so that namesakes elsewhere don't count."""
    marks = [each.encode() for each in needles]
    return [
        f"{system}: {place}"
        for system, place, data in found
        if any(mark in data for mark in marks) and (within.encode() in data or within in place)
    ]


def digest(found: Iterable[Found], *, tenant: str) -> dict[str, str]:
    """SHA-256 per system over all of `found` that bears a tenant's mark."""
    marked: dict[str, list[bytes]] = {}
    for system, place, data in found:
        if tenant.encode() in data or tenant in place:
            marked.setdefault(system, []).append(place.encode() + b"\0" + data)
    return {
        system: hashlib.sha256(b"\n".join(sorted(parts))).hexdigest()
        for system, parts in sorted(marked.items())
    }
