"""Erases one subject's series in Prometheus and logs in Datadog."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.analytics.datadog import Datadog, Log, Query
from lifecycle.systems.analytics.prometheus import Prometheus, key_of, labels_of, matcher
from lifecycle.systems.base import (
    Action,
    BatchOver,
    Gate,
    Item,
    Locked,
    Page,
    Permanent,
    Planted,
    Scope,
    Subject,
    Tally,
)

SERIES, LOG = "series", "datadog_log"
HEAD = timedelta(hours=4)  # by then a Prometheus that takes samples has compacted the head block
POLL = 0.2
ENTRIES = 5_000
OUT_OF_ORDER = "Prometheus does not delete samples that came out of order before it compacts its head block (every two hours)."
NOT_APART = "Datadog can't delete these logs without logs of others that the same tags name."
LINGERS = (
    "Prometheus lists labels of series without samples until it compacts its head block (every two hours)."
)
DERIVED = "Datadog keeps metrics that were derived from logs; its deletion does not reach them."


class AnalyticsEraser:
    """See `lifecycle.systems.base.Eraser`. Items: `series` (labels), `datadog_log` ([id, timestamp])."""

    name = "analytics"
    method = (
        "delete_series by exact labels, then clean_tombstones (Prometheus admin API v1); deletion request for exact "
        "attributes, polled to its end (Datadog Data Deletion API v2; metrics derived from logs are out of its reach)"
    )
    batch = 5_000
    clean_passes = 1

    def __init__(self, place: Mapping[str, str], datamap: DataMap) -> None:
        self._prometheus = Prometheus(place, datamap.metrics) if place.get("prometheus") else None
        self._datadog = Datadog(place, datamap.metrics) if place.get("datadog") else None
        self._category = datamap.metrics.category

    # Finding

    def discover(self, scope: Scope, cursor: Any) -> Page[Item]:
        """First all series in one page, then logs page by page. Logs whose deletion is under way are left out."""
        if cursor is None:
            items = []
            if self._prometheus is not None:
                found = self._prometheus.present(self._prometheus.selector(scope))
                items = [self._item(scope, SERIES, key_of(labels)) for labels in found]
            return Page(items, {"query": 0, "after": None} if self._datadog is not None else None)
        return self._discover_logs(scope, cursor)

    def _discover_logs(self, scope: Scope, cursor: dict[str, Any]) -> Page[Item]:
        datadog = self._the_datadog()
        queries = datadog.queries(scope, scope.subject.user)
        at, after = cursor["query"], cursor["after"]
        under_way = [until for _, until in datadog.active(self._all_queries(scope))]
        items: list[Item] = []
        while at < len(queries) and len(items) < ENTRIES:
            logs, after = datadog.search(queries[at].text, after)
            items += [
                self._item(scope, LOG, json.dumps([log.id, log.timestamp]))
                for log in logs
                if datadog.owns(scope, log)
                and (at == 0 or not log.by_attribute)
                and not any(log.timestamp <= until for until in under_way)
            ]
            at += after is None
        return Page(items, {"query": at, "after": after} if at < len(queries) else None)

    def _all_queries(self, scope: Scope) -> list[Query]:
        datadog = self._the_datadog()
        if scope.subject.user is not None or not scope.spared_users:
            return datadog.queries(scope, scope.subject.user)
        users = {user for log in self._owned(scope) for user in log.users}
        by_user = [query for user in sorted(users) for query in datadog.queries(scope, user)]
        # Our own markers name no user here.
        return by_user + [Query((("@canary", marker),)) for marker in scope.canaries]

    def _owned(self, scope: Scope) -> Iterator[Log]:
        datadog = self._the_datadog()
        for query in datadog.queries(scope, scope.subject.user):
            yield from (log for log in datadog.every(query.text) if datadog.owns(scope, log))

    def _item(self, scope: Scope, kind: str, key: str) -> Item:
        kept = self._category in scope.retained
        return Item(kind, key, self._category, Action.RETAIN if kept else Action.ERASE)

    def _the_datadog(self) -> Datadog:
        if self._datadog is None:
            raise Permanent("The environment names no Datadog.")
        return self._datadog

    # Erasing

    def erase(self, scope: Scope, items: Sequence[Item], gate: Gate) -> Tally:
        tally = Tally()
        kinds = {
            kind: [item for item in items if item.kind == kind] for kind in {item.kind for item in items}
        }
        for kind, found in kinds.items():
            if kind == SERIES:
                self._erase_series(scope, found, gate, tally)
            elif kind == LOG:
                self._erase_logs(scope, found, gate, tally)
            elif kind != "label_value":
                raise Permanent(f"Analytics has no items of kind {kind}.")
        tally.taken = len(items)
        return tally

    def _erase_series(self, scope: Scope, items: Sequence[Item], gate: Gate, tally: Tally) -> None:
        """One call for all of the subject's series; a series that isn't the subject's (a mention) by its own labels."""
        prometheus = self._prometheus
        if prometheus is None:
            raise Permanent("The environment names no Prometheus.")
        began, selectors = time.time(), {prometheus.selector(scope)}
        others = [labels for item in items if not prometheus.owns(scope, labels := labels_of(item.key))]
        selectors |= {matcher(labels) for labels in others}
        left: set[str] = set()
        for selector in sorted(selectors):
            prometheus.delete(selector, gate)
            left |= {key_of(labels) for labels in prometheus.present(selector, began)}
        for item in items:
            if item.key in left:
                tally.locked.append(Locked(item, datetime.now(UTC) + HEAD, OUT_OF_ORDER))
            else:
                tally.erased += 1

    def _erase_logs(self, scope: Scope, items: Sequence[Item], gate: Gate, tally: Tally) -> None:
        datadog = self._the_datadog()
        queries = self._all_queries(scope)
        under_way = datadog.active(queries)
        newest = max(int(json.loads(item.key)[1]) for item in items)
        covered: set[str] = set()
        for query in queries:
            logs = list(datadog.every(query.text))
            mine = [log for log in logs if datadog.owns(scope, log)]
            if not mine or len(mine) < len(logs):
                continue
            if not any(text == query.text and until >= newest for text, until in under_way):
                datadog.delete(query, len(mine), gate)
            covered |= {log.id for log in mine}
        present = {log.id for log in self._owned(scope)} - covered
        for item in items:
            if json.loads(item.key)[0] in present:
                tally.locked.append(Locked(item, None, NOT_APART))
            else:
                tally.erased += 1

    def finish(self, scope: Scope, gate: Gate) -> Tally:
        """Cleans tombstones, follows the deletion requests to their end, asks again for what arrived late.

        detail: `wait_until` with `why` while Datadog is still at it; `purge_by` where Prometheus lists labels without
        samples; `notes` (sentences) for what can't be reached.
        """
        tally = Tally()
        if self._prometheus is not None:
            self._prometheus.clean(gate)
            if self._prometheus.listed(self._prometheus.selector(scope)):
                tally.detail["purge_by"] = _stamp(datetime.now(UTC) + HEAD)
                tally.detail["notes"] = LINGERS
        if self._datadog is not None:
            tally.detail["notes"] = " ".join([*filter(None, [tally.detail.get("notes")]), DERIVED])
            self._follow(scope, gate, tally)
        return tally

    def _follow(self, scope: Scope, gate: Gate, tally: Tally) -> None:
        datadog, queries = self._the_datadog(), self._all_queries(scope)
        while datadog.active(queries):
            if gate.remaining() < 1.0:
                tally.detail["wait_until"] = _stamp(datetime.now(UTC) + timedelta(seconds=20))
                tally.detail["why"] = "Datadog is still carrying out the deletion."
                return
            time.sleep(POLL)
        late = [log for log in self._owned(scope) if self._category not in scope.retained]
        if not late:
            return
        items = [self._item(scope, LOG, json.dumps([log.id, log.timestamp])) for log in late]
        with contextlib.suppress(BatchOver):  # asked for in the next batch
            self._erase_logs(scope, items, gate, tally)
        if len(tally.locked) < len(items):
            tally.detail["wait_until"] = _stamp(datetime.now(UTC) + timedelta(seconds=5))
            tally.detail["why"] = (
                "Logs arrived in Datadog after the deletion was asked for; it was asked for again."
            )

    # Canaries

    def shapes(self, scope: Scope) -> Sequence[str]:
        if self._category in scope.retained or self._category in scope.held_categories:
            return []
        shapes = []
        if self._prometheus is not None and self._prometheus.takes_writes():
            shapes.append(SERIES)
        if self._datadog is not None:
            shapes.append(LOG)
        return shapes

    def plant(self, scope: Scope, shape: str, marker: str) -> Planted:
        if shape == SERIES and self._prometheus is not None:
            return Planted(shape, marker, key_of(self._prometheus.plant(scope, marker)))
        if shape == LOG:
            self._the_datadog().plant(scope, marker)
            return Planted(shape, marker, json.dumps({"canary": marker}))
        raise Permanent(f"Analytics has no shape called {shape} here.")

    def lift(self, planted: Planted) -> None:
        """The marker's own series and log go; both carry nothing else."""
        gate = _Soon()
        if planted.shape == SERIES and self._prometheus is not None:
            self._prometheus.delete(matcher(labels_of(planted.place)), gate)
        elif planted.shape == LOG:
            query = Query((("@canary", planted.marker),))
            datadog = self._the_datadog()
            if not datadog.active([query]) and any(True for _ in datadog.every(query.text)):
                datadog.delete(query, 1, gate)

    def anchors(self, scope: Scope) -> Mapping[str, tuple[str, ...]]:
        return {}

    def identify(self, scope: Scope) -> Subject:
        return scope.subject

    def close(self) -> None:
        for each in (self._prometheus, self._datadog):
            if each is not None:
                each.close()


class _Soon(Gate):
    """Ten seconds for the removal of our own marker, which is no one's data."""

    def __init__(self) -> None:
        self._end = datetime.now(UTC) + timedelta(seconds=10)

    @property
    def deadline(self) -> datetime:
        return self._end

    def check(self) -> None:
        return None

    def remaining(self) -> float:
        return max(1.0, (self._end - datetime.now(UTC)).total_seconds())


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def connect(place: Mapping[str, str], datamap: DataMap) -> AnalyticsEraser:
    """The eraser of place["prometheus"] and place["datadog"] (with `datadog_key`); either may be missing."""
    return AnalyticsEraser(place, datamap)
