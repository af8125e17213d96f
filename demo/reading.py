"""Plain reading of everything that the seven systems hold, for `make demo`: no code of the eraser or its verifier.

Each record has an owner, what identifies it, a digest of its content, and its text for a search.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import boto3
import httpx
import psycopg2
import redis
import zstandard
from botocore.config import Config
from pinecone import Pinecone

_ARCHIVE = "logs-archive/"
Owner = tuple[str, str]  # (tenant, user); "" where a record is nobody's own


@dataclass(frozen=True, slots=True)
class Record:
    """One thing found in one system."""

    system: str
    owner: Owner
    key: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of where it lies and what it says."""
        return hashlib.sha256(f"{self.system}\0{self.key}\0{self.text}".encode()).hexdigest()


def everything(stack: dict[str, Any]) -> list[Record]:
    """All records of both regions and of the backups' bucket."""
    found: list[Record] = list(backups(stack["backups"]))
    for region in stack["regions"].values():
        found += postgresql(region["postgres_reader"])
        found += s3(region["s3"])
        found += pinecone(region["pinecone"])
        found += valkey(region["redis"])
        found += cloudwatch(region["logs"])
        found += prometheus(region["prometheus"])
    # One Datadog serves both regions.
    first = next(iter(stack["regions"].values()))
    found += datadog(first["datadog"], first["datadog_key"])
    return found


_USER_COLUMNS = ("user_id", "owner_id", "author_id", "actor_id")
_OWNED_BY = {
    "chunks": "SELECT d.tenant_id, d.owner_id, to_jsonb(c) FROM chunks c JOIN documents d ON d.id = c.document_id",
    "highlights": "SELECT d.tenant_id, d.owner_id, to_jsonb(h) FROM highlights h "
    "JOIN chunks c ON c.id = h.chunk_id JOIN documents d ON d.id = c.document_id",
}


def postgresql(dsn: str) -> Iterator[Record]:
    """Every row of every table, view and large object that the reader may see."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'm') "
            "ORDER BY relname"
        )
        for (table,) in cursor.fetchall():
            if table in _OWNED_BY:
                cursor.execute(_OWNED_BY[table])
                rows = [((tenant, user), row) for tenant, user, row in cursor.fetchall()]
            else:
                cursor.execute(f'SELECT to_jsonb(t) FROM "{table}" t')
                rows = [(_row_owner(row), row) for (row,) in cursor.fetchall()]
            for owner, row in rows:
                yield Record("postgresql", owner, table, json.dumps(row, sort_keys=True, ensure_ascii=False))


def _row_owner(row: dict[str, Any]) -> Owner:
    user = next((str(row[name]) for name in _USER_COLUMNS if row.get(name) is not None), "")
    return str(row.get("tenant_id", "")), user


def s3(place: dict[str, str], prefix: str = "") -> Iterator[Record]:
    """Every version of every object with its bytes, and every delete marker."""
    yield from _bucket("s3", place, _path_owner, prefix)


def backups(place: dict[str, str]) -> Iterator[Record]:
    """Every object in the backups' bucket."""
    yield from _bucket("backups", place, lambda key: ("", ""), "")


def _bucket(
    system: str, place: dict[str, str], owner: Callable[[str], Owner], prefix: str
) -> Iterator[Record]:
    client = boto3.client(
        "s3",
        endpoint_url=place["endpoint"],
        aws_access_key_id=place["key"],
        aws_secret_access_key=place["secret"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    for page in client.get_paginator("list_object_versions").paginate(Bucket=place["bucket"], Prefix=prefix):
        for each in page.get("Versions", []):
            body = client.get_object(Bucket=place["bucket"], Key=each["Key"], VersionId=each["VersionId"])[
                "Body"
            ].read()
            if each["Key"].startswith(_ARCHIVE):
                yield from _archived(each["Key"], body)
                continue
            name = f"{each['Key']} {each['VersionId']}"
            yield Record(system, owner(each["Key"]), name, body.decode("utf-8", "backslashreplace"))
        for marker in page.get("DeleteMarkers", []):
            name = f"{marker['Key']} {marker['VersionId']}"
            yield Record(system, owner(marker["Key"]), name, "delete marker")


def _path_owner(key: str) -> Owner:
    parts = key.split("/")
    if len(parts) > 2 and parts[0].startswith("tenant-") and parts[1].startswith("user-"):
        return parts[0].removeprefix("tenant-"), parts[1].removeprefix("user-")
    return "", ""


def pinecone(place: dict[str, str]) -> Iterator[Record]:
    """Every vector of every namespace."""
    index = Pinecone(api_key=place["key"], host=place["control_host"]).index(host=place["index_host"])
    for namespace in list(index.describe_index_stats().namespaces):
        names = [
            item if isinstance(item, str) else item.id for page in _pages(index, namespace) for item in page
        ]
        for at in range(0, len(names), 100):
            fetched = index.fetch(ids=names[at : at + 100], namespace=namespace).vectors
            for name, vector in sorted(fetched.items()):
                data = dict(vector.metadata or {})
                owner = str(data.get("tenant_id", "")), str(data.get("user_id", ""))
                text = json.dumps([data, list(vector.values)], sort_keys=True, ensure_ascii=False)
                yield Record("pinecone", owner, f"{namespace} {name}", text)


def _pages(index: Any, namespace: str) -> Iterator[list[Any]]:
    for page in index.list(namespace=namespace):
        yield list(getattr(page, "vectors", page))


def valkey(url: str) -> Iterator[Record]:
    """Every key; of shared containers every member, field and entry."""
    with redis.Redis.from_url(url, decode_responses=True, encoding_errors="backslashreplace") as client:
        for key in client.scan_iter(count=1000):
            kind, tenant = client.type(key), key.split(":")[1] if ":" in key else ""
            for user, text in _members(client, key, kind):
                yield Record("redis", (tenant, user), key, text)


def _members(client: Any, key: str, kind: str) -> list[tuple[str, str]]:
    if kind == "set":
        return [(member, member) for member in client.smembers(key)]
    if kind == "zset":
        return [(member, f"{member} {score}") for member, score in client.zscan_iter(key)]
    if kind == "hash":
        return [(name, f"{name} {value}") for name, value in client.hgetall(key).items()]
    if kind == "list":
        return [("", value) for value in client.lrange(key, 0, -1)]
    if kind == "stream":
        return [(fields.get("user_id", ""), f"{name} {fields}") for name, fields in client.xrange(key)]
    value = client.get(key)
    parts = key.split(":")
    named = (
        json.loads(value).get("user_id", "") if value.startswith("{") else parts[2] if len(parts) > 2 else ""
    )
    return [(named, value)]


def cloudwatch(place: dict[str, str]) -> Iterator[Record]:
    """Every event of every stream of every group. The stream's name is no part of it: cleaned streams are new ones."""
    client = boto3.client(
        "logs",
        endpoint_url=place["endpoint"],
        region_name=place["region"],
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106  (moto takes any)
    )
    for page in client.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            yield from _group(client, group["logGroupName"])


def _group(client: Any, group: str) -> Iterator[Record]:
    for page in client.get_paginator("describe_log_streams").paginate(logGroupName=group):
        for stream in page["logStreams"]:
            token: dict[str, str] = {}
            while True:
                answer = client.get_log_events(
                    logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True, **token
                )
                for event in answer["events"]:
                    yield _event(group, event)
                if not answer["events"] or token.get("nextToken") == answer["nextForwardToken"]:
                    break
                token = {"nextToken": answer["nextForwardToken"]}


def _archived(key: str, data: bytes) -> Iterator[Record]:
    """Events too old to stay in a stream that was cleaned: JSON lines, compressed, under the group's quoted name."""
    group = unquote(key.removeprefix(_ARCHIVE).partition("/")[0])
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        for line in reader.read().splitlines():
            yield _event(group, json.loads(line))


def _event(group: str, event: dict[str, Any]) -> Record:
    message = event["message"]
    fields = json.loads(message) if message.startswith("{") else {}
    owner = group.partition("tenant-")[2], str(fields.get("user_id", ""))
    return Record("cloudwatch", owner, f"{group} {event['timestamp']}", message)


def prometheus(url: str) -> Iterator[Record]:
    """Every series with labels of a tenant, and its samples of the last day."""
    now = int(time.time())
    with httpx.Client(base_url=url, timeout=30) as client:
        query = {"query": '{tenant!=""}[1d]', "time": str(now)}
        answer = client.get("/api/v1/query", params=query).raise_for_status().json()
        for series in answer["data"]["result"]:
            labels, values = series["metric"], series["values"]
            owner = labels.get("tenant", ""), labels.get("user", "")
            name = json.dumps(labels, sort_keys=True, ensure_ascii=False)
            yield Record("prometheus", owner, name, json.dumps(values))


def datadog(url: str, key: str) -> Iterator[Record]:
    """Every log event of the last 90 days."""
    headers, cursor = {"DD-API-KEY": key, "DD-APPLICATION-KEY": key}, ""
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        while True:
            page = {"limit": 1000} | ({"cursor": cursor} if cursor else {})
            body = {"filter": {"query": "*", "from": "now-90d"}, "sort": "timestamp", "page": page}
            answer = client.post("/api/v2/logs/events/search", json=body).raise_for_status().json()
            for event in answer["data"]:
                fields = event["attributes"]["attributes"]
                owner = str(fields.get("tenant", "")), str(fields.get("user", ""))
                text = json.dumps(event["attributes"], sort_keys=True, ensure_ascii=False)
                yield Record("datadog", owner, event["id"], text)
            cursor = answer.get("meta", {}).get("page", {}).get("after", "")
            if not cursor:
                return
