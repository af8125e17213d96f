"""What a test's tenants leave in the region goes after it: every erasure reads all that a region holds, more than once."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing, suppress
from typing import Any

import httpx
import psycopg2
import redis
from botocore.exceptions import ClientError

from demo.platform.cast import Customer
from demo.platform.seed import rows
from lifecycle.systems.backups.layout import exclusions_prefix, tenant_prefix
from lifecycle.systems.pinecone.names import namespace
from tests.lifecycle.erasure import planting


def wipe(stack: dict[str, Any], customers: Collection[Customer]) -> None:
    """Takes these tenants out of every system of their region, but for objects under a lock and Datadog's few lines."""
    if not customers:
        return
    region = stack["regions"]["us-east-1"]
    names = [each.id for each in customers]
    with closing(psycopg2.connect(region["postgres"])) as connection, connection:
        for name in names:
            rows.clear(connection, name)
        with connection.cursor() as cursor:
            cursor.execute("REFRESH MATERIALIZED VIEW user_activity")
    for name in names:
        planting.remove_objects(region, f"tenant-{name}/")
        for prefix in (tenant_prefix(name), exclusions_prefix(name)):
            planting.remove_objects({"s3": stack["backups"]}, prefix)
        planting.remove_namespace(region, namespace("tenant-{tenant}", name))
    _keys(region["redis"], names)
    _logs(region, names)
    _series(region["prometheus"], names)


def _keys(url: str, names: list[str]) -> None:
    with redis.Redis.from_url(url) as client:
        mine = [
            key
            for key in client.scan_iter(count=1000)
            if any(f":{name}:" in f"{key.decode(errors='replace')}:" for name in names)
        ]
        if mine:
            client.delete(*mine)


def _logs(region: dict[str, Any], names: list[str]) -> None:
    client = planting.logs(region)
    for name in names:
        for group in (f"/ecs/tenant-{name}", f"/aws/lambda/tenant-{name}"):
            with suppress(ClientError):
                client.delete_log_group(logGroupName=group)


def _series(url: str, names: list[str]) -> None:
    matches = [f'{{tenant="{name}"}}' for name in names]
    httpx.post(f"{url}/api/v1/admin/tsdb/delete_series", data={"match[]": matches}).raise_for_status()
