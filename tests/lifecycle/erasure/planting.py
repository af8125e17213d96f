"""Hands that put a person's data where no seed puts it, and that stop a run between its stages."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import httpx
import psycopg2
import redis
from botocore.config import Config
from django.utils import timezone

from lifecycle.engine import advance, readiness
from lifecycle.models import Run

Region = dict[str, Any]


def work_until(run: Run, stage: int, timeout: float = 120.0) -> None:
    """Works a run as `runs.execute` does, but stops before `stage`."""
    ends = time.monotonic() + timeout
    while run.steps.filter(stage__lt=stage).exclude(state="done").exists():
        assert time.monotonic() < ends, list(
            run.steps.exclude(state="done").values_list("name", "lane", "error")
        )
        ready = [each for each in readiness.standing(run.steps.all()).ready if each.stage < stage]
        due = [each for each in ready if each.not_before <= timezone.now()]
        if "not claimed" in [advance.advance(each.pk) for each in due] or not due:
            time.sleep(0.2)


def sql(region: Region, statement: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
    """One statement as the platform's own role."""
    connection = psycopg2.connect(region["postgres"])
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, tuple(values))
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def s3(region: Region, **place: str) -> Any:
    """A plain client of the region's object storage."""
    at = {**region["s3"], **place}
    return boto3.client(
        "s3", endpoint_url=at["endpoint"], aws_access_key_id=at["key"], aws_secret_access_key=at["secret"],
        region_name="us-east-1", config=Config(max_pool_connections=16, s3={"addressing_style": "path"}),
    )  # fmt: skip


def objects(region: Region, contents: dict[str, bytes], *, versions: int = 1) -> None:
    """Objects by key, each written `versions` times."""
    client, bucket = s3(region), region["s3"]["bucket"]
    for _ in range(versions):
        with ThreadPoolExecutor(16) as pool:
            list(
                pool.map(
                    lambda each: client.put_object(Bucket=bucket, Key=each[0], Body=each[1]), contents.items()
                )
            )


def remove_objects(region: Region, prefix: str) -> None:
    """Every version, marker and unfinished upload below a prefix, but for what is under a lock."""
    client, bucket = s3(region), region["s3"]["bucket"]
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        found = [
            {"Key": each["Key"], "VersionId": each["VersionId"]}
            for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        ]
        if found:
            client.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})
    for each in client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"])


def vector(region: Region, namespace: str, key: str, metadata: dict[str, str]) -> None:
    """One vector, seen by a fetch before this returns."""
    place = region["pinecone"]
    with httpx.Client(base_url=place["index_host"], headers={"Api-Key": place["key"]}, timeout=30) as client:
        made = {"id": key, "values": [0.5] * 8, "metadata": metadata}
        client.post("/vectors/upsert", json={"namespace": namespace, "vectors": [made]}).raise_for_status()
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            answer = client.get("/vectors/fetch", params={"ids": [key], "namespace": namespace}).json()
            if answer.get("vectors"):
                return
            time.sleep(0.1)
    raise AssertionError(f"The vector never became visible in {namespace}.")


def remove_namespace(region: Region, namespace: str) -> None:
    """A whole namespace, if it is there."""
    place = region["pinecone"]
    with httpx.Client(base_url=place["index_host"], headers={"Api-Key": place["key"]}, timeout=30) as client:
        client.post("/vectors/delete", json={"namespace": namespace, "deleteAll": True})


def store(region: Region, number: int) -> redis.Redis:
    """One database of the region's Redis."""
    return redis.Redis.from_url(f"{region['redis'].rpartition('/')[0]}/{number}")


def log_line(region: Region, group: str, message: str) -> None:
    """One line in a new group."""
    client = logs(region)
    client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName="main")
    event = {"timestamp": int(time.time() * 1000), "message": message}
    client.put_log_events(logGroupName=group, logStreamName="main", logEvents=[event])


def logs(region: Region) -> Any:
    """A plain client of the region's log service."""
    place = region["logs"]
    return boto3.client(
        "logs", endpoint_url=place["endpoint"], region_name=place["region"],
        aws_access_key_id="x", aws_secret_access_key="x",
    )  # fmt: skip
