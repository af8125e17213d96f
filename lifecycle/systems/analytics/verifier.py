"""Looks again in Prometheus and Datadog: raw samples instead of series, all logs instead of a query."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from lifecycle.datamap.model import DataMap
from lifecycle.systems import clients
from lifecycle.systems.analytics.prometheus import translated
from lifecycle.systems.base import Entry, Hit, Item, Page, Scope, content_hash, key_hash
from lifecycle.systems.needles import CANARY, ID, Found, Needles, is_weak

EVERY = "99y"
SECONDS = 8.0
PAGE = 1_000


class AnalyticsVerifier:
    """See `lifecycle.systems.base.Verifier`. A label value without samples is no hit: the index lists it until the head
    block is compacted, which the eraser reports with a date."""

    name = "analytics"
    method = (
        "range queries for the samples themselves, every value of every label, every log event, matched in the "
        "verifier's own process"
    )

    def __init__(self, place: Mapping[str, str], datamap: DataMap) -> None:
        self._metrics = datamap.metrics
        self._prometheus = (
            httpx.Client(base_url=place["prometheus"], timeout=60, verify=clients.trust())
            if place.get("prometheus")
            else None
        )
        self._datadog: httpx.Client | None = None
        if place.get("datadog"):
            key = place.get("datadog_reader_key") or place["datadog_key"]
            app_key = place.get("datadog_app_key") or key
            headers = {"DD-API-KEY": key, "DD-APPLICATION-KEY": app_key}
            self._datadog = httpx.Client(
                base_url=place["datadog"], headers=headers, timeout=60, verify=clients.trust()
            )

    # The manifest

    def remaining(self, scope: Scope, items: Sequence[Item]) -> list[Item]:
        wanted = {item.key: item for item in items if item.kind == "series"}
        found = []
        if wanted and self._prometheus is not None:
            names = sorted({str(json.loads(key).get("__name__", "")) for key in wanted})
            readable: set[str] = set()
            for name in names:
                tenants = {json.loads(key).get(self._metrics.tenant_label, "") for key in wanted}
                for tenant in sorted(tenants):
                    chosen = {"__name__": name, self._metrics.tenant_label: tenant}
                    readable |= {_key(labels) for labels, _ in self._samples(chosen)}
            found = [item for key, item in wanted.items() if key in readable]
        logs = {json.loads(item.key)[0]: item for item in items if item.kind == "datadog_log"}
        if logs:
            found += [logs[event["id"]] for event in self._events() if event["id"] in logs]
        return found

    def _samples(self, labels: Mapping[str, str]) -> list[tuple[dict[str, str], list[Any]]]:
        """Every sample of every series with these labels. A label given as "" must be missing."""
        selector = ",".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items()
        )
        return [
            (each["metric"], each["values"])
            for each in self._ask("query", f"{{{selector}}}[{EVERY}]")["result"]
        ]

    def _ask(self, path: str, query: str = "") -> Any:
        if self._prometheus is None:
            return {"result": []}
        data = {"query": query, "time": f"{time.time() + 3600:.0f}"} if query else None
        with translated("Prometheus"):
            answer = (
                self._prometheus.post(f"/api/v1/{path}", data=data)
                if data
                else self._prometheus.get(f"/api/v1/{path}")
            )
            answer.raise_for_status()
        return answer.json()["data"]

    def _events(self) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while self._datadog is not None:
            events, cursor = self._event_page(cursor)
            yield from events
            if cursor is None:
                return

    def _event_page(self, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        if self._datadog is None:
            return [], None
        body: dict[str, Any] = {
            "filter": {"query": "*", "from": "1", "to": str(int(time.time() * 1000) + 7_200_000)},
            "sort": "timestamp",
            "page": {"limit": PAGE, **({"cursor": cursor} if cursor else {})},
        }
        with translated("Datadog"):
            answer = self._datadog.post("/api/v2/logs/events/search", json=body)
            answer.raise_for_status()
        found = answer.json()
        return found.get("data", []), found.get("meta", {}).get("page", {}).get("after")

    # Raw search

    def search(self, scope: Scope, cursor: Any) -> Page[Hit]:
        """Cursor: {"stage": "labels"|"logs", "at": position or the service's cursor}."""
        if self._metrics.category in set(scope.retained) | scope.held_categories:
            return Page([], None)
        at = cursor or {"stage": "labels", "at": 0}
        if at["stage"] == "labels":
            return self._search_labels(scope, at)
        return self._search_logs(scope, at)

    def _search_labels(self, scope: Scope, at: dict[str, Any]) -> Page[Hit]:
        names: list[str] = sorted(self._ask("labels")) if self._prometheus is not None else []
        hits: list[Hit] = []
        end = time.monotonic() + SECONDS
        for position in range(at["at"], len(names)):
            hits += self._label_hits(scope, names[position])
            if time.monotonic() > end:
                return Page(hits, {"stage": "labels", "at": position + 1})
        return Page(hits, {"stage": "logs", "at": None})

    def _label_hits(self, scope: Scope, name: str) -> Iterator[Hit]:
        needles = Needles.of(scope)
        for value in self._ask(f"label/{name}/values"):
            found = self._in_label(scope, needles, name, value)
            if found is None:
                continue
            for labels, _ in self._samples({name: value}):
                mine = self._owned(scope, labels) or any(c in value for c in scope.canaries)
                if not mine and self._is_namesake(scope, labels, name):
                    continue
                yield Hit(
                    "series", _key(labels), f"label {name}", found.kind, mine, needles.excerpt(value, found)
                )

    def _in_label(self, scope: Scope, needles: Needles, name: str, value: str) -> Found | None:
        whole = Found("rule", 0, len(value))
        if name == self._metrics.tenant_label:
            return whole if value == scope.subject.tenant and scope.subject.user is None else None
        if name == self._metrics.user_label:
            if value == scope.subject.user:
                return whole
            return found if (found := _best(scope, needles, value)) and found.kind != ID else None
        found = _best(scope, needles, value)
        weak = found is not None and found.kind == ID and is_weak(scope.subject.user or "")
        return None if weak else found

    def _owned(self, scope: Scope, labels: Mapping[str, str]) -> bool:
        if labels.get(self._metrics.tenant_label) != scope.subject.tenant:
            return False
        user = labels.get(self._metrics.user_label)
        if scope.subject.user is None:
            return user is None or user not in scope.spared_users
        return user == scope.subject.user

    def _is_namesake(self, scope: Scope, labels: Mapping[str, str], name: str) -> bool:
        """Another tenant's user of the same id, or a held user inside a tenant that is erased around the hold."""
        tenant = labels.get(self._metrics.tenant_label)
        if name == self._metrics.tenant_label:
            return True
        return name == self._metrics.user_label and tenant is not None and tenant != scope.subject.tenant

    def _search_logs(self, scope: Scope, at: dict[str, Any]) -> Page[Hit]:
        hits: list[Hit] = []
        end = time.monotonic() + SECONDS
        cursor = at["at"]
        while True:
            events, cursor = self._event_page(cursor)
            hits += [hit for event in events if (hit := self._log_hit(scope, event)) is not None]
            if cursor is None:
                return Page(hits, None)
            if time.monotonic() > end:
                return Page(hits, {"stage": "logs", "at": cursor})

    def _log_hit(self, scope: Scope, event: dict[str, Any]) -> Hit | None:
        text = json.dumps(event.get("attributes", {}), ensure_ascii=False)
        tenants, users = self._named(event)
        foreign = bool(tenants) and scope.subject.tenant not in tenants
        needles = Needles.of(scope, foreign=foreign)
        found = _best(scope, needles, text)
        belongs = self._log_owned(scope, text, tenants, users)
        if found is None and not belongs:
            return None
        key = json.dumps([event["id"], _moment(event)])
        excerpt = needles.excerpt(text, found) if found else ""
        return Hit("datadog_log", key, "Datadog logs", found.kind if found else "rule", belongs, excerpt)

    def _log_owned(self, scope: Scope, text: str, tenants: set[str], users: set[str]) -> bool:
        if any(canary in text for canary in scope.canaries):
            return True
        if scope.subject.tenant not in tenants:
            return False
        return not users & scope.spared_users if scope.subject.user is None else scope.subject.user in users

    def _named(self, event: dict[str, Any]) -> tuple[set[str], set[str]]:
        """Tenants and users that an event names: its attributes, or where it has none its tags."""
        attributes = event.get("attributes", {})
        inner = attributes.get("attributes", {})
        tenant, user = self._metrics.datadog_tenant_tag, self._metrics.datadog_user_tag
        if tenant in inner or user in inner:
            return {str(inner[n]) for n in [tenant] if n in inner}, {
                str(inner[n]) for n in [user] if n in inner
            }
        pairs = [str(each).split(":", 1) for each in attributes.get("tags", []) if ":" in str(each)]
        return {v for n, v in pairs if n == tenant}, {v for n, v in pairs if n == user}

    # Everyone else

    def bystanders(self, scope: Scope) -> Iterator[Entry]:
        """One entry per series that has samples (content: its samples) and per log event of anybody else."""
        names: list[str] = self._ask("label/__name__/values") if self._prometheus is not None else []
        for name in names:
            for labels, values in self._samples({"__name__": name}):
                if self._owned(scope, labels):
                    continue
                owner = _owner(labels.get(self._metrics.tenant_label), labels.get(self._metrics.user_label))
                yield Entry(
                    owner, key_hash("series", _key(labels)), content_hash(json.dumps(values).encode())
                )
        for event in self._events():
            text = json.dumps(event.get("attributes", {}), sort_keys=True, ensure_ascii=False)
            tenants, users = self._named(event)
            if self._log_owned(scope, text, tenants, users):
                continue
            key = key_hash("datadog_log", json.dumps([event["id"], _moment(event)]))
            yield Entry(
                _owner(*(sorted(each)[0] if each else None for each in (tenants, users))),
                key,
                content_hash(text.encode()),
            )

    def close(self) -> None:
        for client in (self._prometheus, self._datadog):
            if client is not None:
                client.close()


def _key(labels: Mapping[str, str]) -> str:
    return json.dumps({name: labels[name] for name in sorted(labels)})


def _moment(event: Mapping[str, Any]) -> int:
    """When an event happened, in milliseconds, without the rounding of floats."""
    from datetime import UTC, datetime

    stamp = str(event.get("attributes", {}).get("timestamp", "1970-01-01T00:00:00Z"))
    moment = datetime.fromisoformat(stamp)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _owner(tenant: str | None, user: str | None) -> str:
    return "/".join(part for part in (tenant or "nobody", user) if part)


def _best(scope: Scope, needles: Needles, text: str) -> Found | None:
    for canary in scope.canaries:
        if (start := text.find(canary)) >= 0:
            return Found(CANARY, start, start + len(canary))
    return needles.find(text)


def connect(place: Mapping[str, str], datamap: DataMap) -> AnalyticsVerifier:
    """The verifier of place["prometheus"] and place["datadog"]; either may be missing."""
    return AnalyticsVerifier(place, datamap)
