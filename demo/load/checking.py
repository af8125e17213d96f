"""Whether what was acknowledged is kept by the owner: rows, object and vector of each document."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg2
from botocore.config import Config
from botocore.exceptions import ClientError
from pinecone import Pinecone

from demo.load.ledger import Entry, entries
from demo.service.stores import vector_id
from lifecycle.systems.pinecone.names import namespace

SETTLES = 10.0  # seconds in which a vector that was stored can be read


@dataclass(frozen=True, slots=True)
class Missing:
    """One acknowledged write that is not kept: `what` is "row", "object" or "vector"; for a deletion "deletion"."""

    id: str
    what: str
    at: float


def check(ledger: Path, stack: Mapping[str, Any], tenant: str, region: str) -> list[Missing]:
    """What of the ledger's acknowledged writes `region`, the owner, does not have. Empty is how it should be.

    A deletion whose outcome nobody knows may have happened: its document is not looked for.
    """
    kept: dict[str, Entry] = {}
    gone: dict[str, Entry] = {}
    for entry in entries(ledger):
        if entry.kind == "put" and entry.acknowledged:
            kept[entry.id] = entry
        elif entry.kind == "delete":
            kept.pop(entry.id, None)
            if entry.acknowledged:
                gone[entry.id] = entry
    place = stack["regions"][region]
    found = _rows(place, tenant, [*kept, *gone])
    missing = [Missing(each, "deletion", gone[each].at) for each in gone if each in found]
    for each, entry in kept.items():
        if found.get(each, ("", ""))[1] != entry.sha256:
            missing.append(Missing(each, "row", entry.at))
    missing += _objects(place, tenant, list(kept.values()))
    missing += _vectors(place, tenant, list(kept.values()))
    return sorted(missing, key=lambda each: each.at)


def _rows(place: Mapping[str, Any], tenant: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """id -> (object key, digest of the text that the parts hold)."""
    with closing(psycopg2.connect(place["postgres"])) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT d.id, d.s3_key, coalesce(encode(sha256(convert_to(string_agg(c.body, '' ORDER BY c.position), "
            "'UTF8')), 'hex'), '') FROM documents d LEFT JOIN chunks c ON c.document_id = d.id "
            "WHERE d.tenant_id = %s AND d.id = ANY(%s) GROUP BY d.id, d.s3_key",
            [tenant, list(ids)],
        )
        return {row[0]: (row[1], row[2]) for row in cursor.fetchall()}


def _objects(place: Mapping[str, Any], tenant: str, kept: Sequence[Entry]) -> list[Missing]:
    store = place["s3"]
    client = boto3.client(
        "s3",
        endpoint_url=store["endpoint"],
        aws_access_key_id=store["key"],
        aws_secret_access_key=store["secret"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=16),
    )

    def is_there(entry: Entry) -> bool:
        key = f"tenant-{tenant}/user-{entry.user}/{entry.id}"
        try:
            body = client.get_object(Bucket=store["bucket"], Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return False
            raise
        return hashlib.sha256(body).hexdigest() == entry.sha256

    with ThreadPoolExecutor(8) as pool:
        return [
            Missing(entry.id, "object", entry.at)
            for entry, there in zip(kept, pool.map(is_there, kept), strict=True)
            if not there
        ]


def _vectors(place: Mapping[str, Any], tenant: str, kept: Sequence[Entry]) -> list[Missing]:
    vectors = place["pinecone"]
    client: Any = Pinecone(api_key=vectors["key"], host=vectors["control_host"])
    index = client.index(host=vectors["index_host"])
    absent = {vector_id(entry.id): entry for entry in kept}
    ends = time.monotonic() + SETTLES
    while absent:
        for part in _parts(list(absent), 100):
            for name in index.fetch(ids=part, namespace=namespace("tenant-{tenant}", tenant)).vectors:
                absent.pop(name, None)
        if time.monotonic() > ends:
            break
        time.sleep(0.2 if absent else 0)
    return [Missing(entry.id, "vector", entry.at) for entry in absent.values()]


def _parts(names: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
