"""What the analytics tests share: unique tenants, a gate, ways to write and look."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from demo.platform.prometheus_seed import seed
from lifecycle.datamap.model import DataMap, Metrics
from lifecycle.systems.analytics.eraser import AnalyticsEraser
from lifecycle.systems.analytics.verifier import AnalyticsVerifier
from lifecycle.systems.base import BatchOver, Entry, Hit, Item, Scope, Subject, Tally, batches

MAP = DataMap(version=1, digest="", metrics=Metrics())


@dataclass
class Open:
    """A gate that stays open for some seconds."""

    seconds: float = 8.0
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def deadline(self) -> datetime:
        return self.made + timedelta(seconds=self.seconds)

    def remaining(self) -> float:
        return max(0.0, (self.deadline - datetime.now(UTC)).total_seconds())

    def check(self) -> None:
        if not self.remaining():
            raise BatchOver


def new_id() -> str:
    """An id that no other test uses: the servers are shared and remember."""
    return f"t{uuid.uuid4().hex[:8]}"


@dataclass
class Platform:
    """The two servers as the platform uses them."""

    place: dict[str, str]

    def series(
        self, tenant: str, user: str, name: str = "requests_total", ago: float = 60, **labels: str
    ) -> None:
        now = int((time.time() - ago) * 1000)
        seed(
            self.place["prometheus"],
            [({"__name__": name, "tenant": tenant, "user": user, **labels}, [(now, 1.0), (now + 1000, 2.0)])],
        )

    def log(self, tenant: str, user: str, tags: bool = True, attributes: bool = True, **more: Any) -> None:
        event: dict[str, Any] = {"message": "hello", "service": "web", **more}
        event |= {"tenant": tenant, "user": user} if attributes else {}
        event |= {"ddtags": f"tenant:{tenant},user:{user}"} if tags else {}
        self.http("POST", "/api/v2/logs", json=[event])

    def http(self, method: str, path: str, **more: Any) -> Any:
        key = self.place["datadog_key"]
        headers = {"DD-API-KEY": key, "DD-APPLICATION-KEY": key}
        answer = httpx.request(method, self.place["datadog"] + path, headers=headers, timeout=10, **more)
        return answer.raise_for_status().json()

    def logs(self, tenant: str) -> list[dict[str, Any]]:
        """Attributes of every log whose attributes or tags name the tenant."""
        body = {
            "filter": {"query": "*", "from": "0", "to": str(int(time.time() * 1000) + 60_000)},
            "page": {"limit": 1000},
        }
        found = [
            each["attributes"] for each in self.http("POST", "/api/v2/logs/events/search", json=body)["data"]
        ]
        return [
            each
            for each in found
            if each["attributes"].get("tenant") == tenant or f"tenant:{tenant.lower()}" in each["tags"]
        ]

    def samples(self, selector: str) -> list[dict[str, Any]]:
        answer = httpx.post(self.place["prometheus"] + "/api/v1/query", data={"query": f"{selector}[10y]"})
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return found


def discover(eraser: AnalyticsEraser, scope: Scope) -> list[Item]:
    items: list[Item] = []
    cursor: Any = None
    while True:
        page = eraser.discover(scope, json.loads(json.dumps(cursor)))
        items += page.entries
        cursor = page.cursor
        if cursor is None:
            return items


def finish(eraser: AnalyticsEraser, scope: Scope) -> Tally:
    """Until the provider is done: ten calls at most."""
    for _ in range(10):
        tally = eraser.finish(scope, Open())
        if "wait_until" not in tally.detail:
            return tally
    raise AssertionError("the deletion did not end")


def erase_all(eraser: AnalyticsEraser, scope: Scope) -> list[Item]:
    """Passes until one is clean, then finish; returns the manifest."""
    first = items = discover(eraser, scope)
    while items:
        for part in batches(items, eraser.batch):
            assert eraser.erase(scope, part, Open()).taken == len(part)
        items = discover(eraser, scope)
    finish(eraser, scope)
    return first


def search(verifier: AnalyticsVerifier, scope: Scope) -> list[Hit]:
    hits: list[Hit] = []
    cursor: Any = None
    while True:
        page = verifier.search(scope, json.loads(json.dumps(cursor)))
        hits += page.entries
        cursor = page.cursor
        if cursor is None:
            return hits


def entries(verifier: AnalyticsVerifier, scope: Scope, tenant: str) -> set[Entry]:
    """The bystanders whose tenant's name begins so: series that Prometheus scrapes by itself change all the time."""
    found = {each for each in verifier.bystanders(scope) if each.owner.startswith(tenant)}
    assert found
    return found


def user(tenant: str, name: str, **more: Any) -> Scope:
    return Scope(Subject(tenant, name), **more)


def whole(tenant: str, **more: Any) -> Scope:
    return Scope(Subject(tenant), **more)
