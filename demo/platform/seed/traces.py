"""Log lines and metrics of the sample platform."""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from functools import cache
from typing import Any

import boto3
import httpx

from demo.platform import prometheus_seed
from demo.platform.cast import Customer, mail
from demo.platform.seed.content import DAWN, log_lines
from demo.servers import old_logs


def logs(place: dict[str, str], customer: Customer, scale: int) -> int:
    """JSON lines of the last hour in the tenant's two groups, in place of what stood there."""
    client = _client(place["endpoint"], place["region"])
    streams: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    start = int(time.time() * 1000) - 3_600_000
    for number, (group, stream, fields) in enumerate(log_lines(customer, scale)):
        streams[group, stream].append({"timestamp": start + number, "message": json.dumps(fields)})
    for group in {group for group, _ in streams}:
        _empty(client, group)
    for (group, stream), events in streams.items():
        client.create_log_stream(logGroupName=group, logStreamName=stream)
        for at in range(0, len(events), 5_000):
            client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events[at : at + 5_000])
    return sum(len(events) for events in streams.values()) + _history(place, customer)


def has_logs(place: dict[str, str], customer: Customer) -> bool:
    """Whether the tenant has a log group."""
    client, name = _client(place["endpoint"], place["region"]), f"/ecs/tenant-{customer.id}"
    groups = client.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return any(group["logGroupName"] == name for group in groups)


def _history(place: dict[str, str], customer: Customer) -> int:
    """Lines of last spring, older than what the API takes."""
    lines = (
        (int(DAWN.timestamp() * 1000) + number, json.dumps(fields))
        for number, (_, _, fields) in enumerate(log_lines(customer, 1))
        if number % 5 == 0
    )
    return old_logs.seed(
        place["endpoint"], place["region"], f"/ecs/tenant-{customer.id}", "web/history", lines
    )


@cache
def _client(endpoint: str, region: str) -> Any:
    return boto3.client(
        "logs", endpoint_url=endpoint, region_name=region,
        aws_access_key_id="local", aws_secret_access_key="local",  # noqa: S106  (moto takes any)
    )  # fmt: skip


def _empty(client: Any, group: str) -> None:
    with contextlib.suppress(client.exceptions.ResourceNotFoundException):
        client.delete_log_group(logGroupName=group)
    client.create_log_group(logGroupName=group)


def metrics(place: dict[str, Any], customer: Customer) -> int:
    """Two series per user in Prometheus, one log line per user in Datadog; those that stand there are not doubled."""
    now = int(time.time() * 1000)
    series = [
        (
            {"__name__": name, "tenant": customer.id, "user": user},
            [(now - 60_000 * back, float(back)) for back in (5, 4, 3, 2, 1)],
        )
        for user in customer.users
        for name in ("requests_total", "tokens_total")
    ]
    prometheus_seed.seed(place["prometheus"], series)
    return len(series) + _datadog(place["datadog"], place["datadog_key"], customer)


def _datadog(url: str, key: str, customer: Customer) -> int:
    client = _http(url, key)
    question = {"filter": {"query": f'@tenant:"{customer.id}"', "from": "now-90d"}, "page": {"limit": 1000}}
    answer = client.post("/api/v2/logs/events/search", json=question).raise_for_status().json()
    there = {each["attributes"]["attributes"].get("user") for each in answer["data"]}
    lines = [_line(customer.id, user) for user in customer.users if user not in there]
    if lines:
        client.post("/api/v2/logs", json=lines).raise_for_status()
    return len(lines)


@cache
def _http(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"DD-API-KEY": key, "DD-APPLICATION-KEY": key}, timeout=10)


def _line(tenant: str, user: str) -> dict[str, str]:
    fields = {"tenant": tenant, "user": user, "email": mail(tenant, user), "event": "login"}
    return {"message": json.dumps(fields), "ddtags": f"tenant:{tenant},user:{user}", "service": "web"}
