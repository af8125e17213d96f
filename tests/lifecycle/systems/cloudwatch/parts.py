"""What the log tests share: a map, a gate, lines, and short ways to erase and look."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from demo.servers.old_logs import seed
from lifecycle.datamap.model import DataMap, Logs
from lifecycle.systems.base import BatchOver, Entry, Hit, Item, Scope, Subject, batches
from lifecycle.systems.cloudwatch.eraser import CloudWatchEraser
from lifecycle.systems.cloudwatch.verifier import CloudWatchVerifier

REGION = "eu-central-1"  # these tests' own: the local server keeps regions apart
DAY = 24 * 3600 * 1000
MAP = DataMap(
    version=1,
    digest="",
    logs=Logs(
        groups=("/ecs/tenant-{tenant}", "/aws/lambda/tenant-{tenant}"),
        user_fields=("user_id",),
        personal_fields=("email",),
        shared_groups=("/shared/gateway",),
    ),
)
Event = tuple[int, str]


@dataclass
class Open:
    """A gate that stays open for some seconds."""

    seconds: float = 5.0
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def deadline(self) -> datetime:
        return self.made + timedelta(seconds=self.seconds)

    def remaining(self) -> float:
        return max(0.0, (self.deadline - datetime.now(UTC)).total_seconds())

    def check(self) -> None:
        if not self.remaining():
            raise BatchOver


def now() -> int:
    return int(time.time() * 1000)


def line(user: str, number: int = 0, **more: Any) -> str:
    """One JSON line of one user."""
    return json.dumps({"level": "info", "user_id": user, "n": number, **more})


@dataclass
class Logs_:
    """The local service: write, read, list."""

    client: Any
    endpoint: str

    def write(self, group: str, stream: str, *events: Event) -> None:
        seed(self.endpoint, REGION, group, stream, events)

    def streams(self, group: str) -> list[str]:
        pages = self.client.get_paginator("describe_log_streams").paginate(logGroupName=group)
        return sorted(each["logStreamName"] for page in pages for each in page["logStreams"])

    def groups(self) -> list[str]:
        return sorted(each["logGroupName"] for each in self.client.describe_log_groups()["logGroups"])

    def read(self, group: str) -> Counter[Event]:
        """Every line of a group, wherever it lies."""
        found: Counter[Event] = Counter()
        for stream in self.streams(group):
            token = None
            while True:
                more: dict[str, Any] = {"nextToken": token} if token else {}
                answer = self.client.get_log_events(
                    logGroupName=group, logStreamName=stream, startFromHead=True, **more
                )
                found.update((event["timestamp"], event["message"]) for event in answer["events"])
                if answer["nextForwardToken"] == token:
                    break
                token = answer["nextForwardToken"]
        return found


def discover(eraser: CloudWatchEraser, scope: Scope) -> list[Item]:
    items: list[Item] = []
    cursor: Any = None
    while True:
        page = eraser.discover(scope, json.loads(json.dumps(cursor)))
        items += page.entries
        cursor = page.cursor
        if cursor is None:
            return items


def erase(eraser: CloudWatchEraser, scope: Scope, items: list[Item]) -> None:
    """Every batch to its end, with a new gate for each call."""
    for part in batches(items, eraser.batch):
        for _ in range(60):
            if eraser.erase(scope, part, Open()).taken == len(part):
                break
        else:
            raise AssertionError("the batch did not end")


def erase_all(eraser: CloudWatchEraser, scope: Scope) -> list[Item]:
    """Passes until one is clean; returns the first pass's manifest."""
    first = items = discover(eraser, scope)
    while items:
        erase(eraser, scope, items)
        items = discover(eraser, scope)
    return first


def search(verifier: CloudWatchVerifier, scope: Scope) -> list[Hit]:
    hits: list[Hit] = []
    cursor: Any = None
    while True:
        page = verifier.search(scope, json.loads(json.dumps(cursor)))
        hits += page.entries
        cursor = page.cursor
        if cursor is None:
            return hits


def entries(verifier: CloudWatchVerifier, scope: Scope) -> Counter[Entry]:
    return Counter(verifier.bystanders(scope))


def user(tenant: str, name: str, **more: Any) -> Scope:
    return Scope(Subject(tenant, name), **{"pseudonym": "5f" * 32, **more})


def whole(tenant: str, **more: Any) -> Scope:
    return Scope(Subject(tenant), **more)
