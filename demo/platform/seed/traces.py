"""Log lines and metrics of the sample platform."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import Any

import boto3
import httpx

from demo.platform import prometheus_seed
from demo.platform.cast import Customer
from demo.platform.seed.content import log_lines


def logs(place: dict[str, str], customer: Customer, scale: int) -> int:
    """JSON lines of the last hour in the tenant's two groups."""
    client = boto3.client(
        "logs", endpoint_url=place["endpoint"], region_name=place["region"],
        aws_access_key_id="local", aws_secret_access_key="local",  # noqa: S106  (moto takes any)
    )  # fmt: skip
    streams: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    start = int(time.time() * 1000) - 3_600_000
    for number, (group, stream, fields) in enumerate(log_lines(customer, scale)):
        streams[group, stream].append({"timestamp": start + number, "message": json.dumps(fields)})
    for (group, stream), events in streams.items():
        _make(client, group, stream)
        for at in range(0, len(events), 5_000):
            client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events[at : at + 5_000])
    return sum(len(events) for events in streams.values())


def _make(client: Any, group: str, stream: str) -> None:
    for make, names in (
        (client.create_log_group, {"logGroupName": group}),
        (client.create_log_stream, {"logGroupName": group, "logStreamName": stream}),
    ):
        try:
            make(**names)
        except client.exceptions.ResourceAlreadyExistsException:
            continue


def metrics(place: dict[str, str], customer: Customer) -> int:
    """Two series per user in Prometheus, one line per user in Datadog."""
    now = int(time.time() * 1000)
    series = [
        ({"__name__": name, "tenant": customer.id, "user": user}, [(now - 60_000 * back, float(back)) for back in (5, 4, 3, 2, 1)])
        for user in customer.users
        for name in ("requests_total", "tokens_total")
    ]
    prometheus_seed.seed(place["prometheus"], series)
    lines = [
        {"message": f"{user} signed in", "ddtags": f"tenant:{customer.id},user:{user}", "service": "web"}
        for user in customer.users
    ]
    answer = httpx.post(
        f"{place['datadog']}/api/v2/logs", json=lines, headers={"DD-API-KEY": place["datadog_key"]}, timeout=10
    )
    answer.raise_for_status()
    return len(series) + len(lines)
