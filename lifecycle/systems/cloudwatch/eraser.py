"""Erases one subject's lines, streams, groups and archives of CloudWatch Logs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import (
    Action,
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
from lifecycle.systems.cloudwatch.archive import Archive, LockedVersion, Version, group_prefix
from lifecycle.systems.cloudwatch.canaries import Canaries
from lifecycle.systems.cloudwatch.cleaning import Cleaning, goes_whole, named_after
from lifecycle.systems.cloudwatch.lines import Group, LineJudge, digest, groups_of, line_key
from lifecycle.systems.cloudwatch.service import Line, Service, Stream, translated
from lifecycle.systems.needles import Needles

ENTRIES = 5_000
SECONDS = 8.0
LEAST = 0.3
_START: dict[str, Any] = {"group": 0, "stream": 0, "event": None, "archive": 0}
# A rewriting outlives one batch and one eraser: it goes on in the next batch of the same process. Lost with the process,
# it begins again from the source, which is whole until the end.
_RUNNING: dict[tuple[object, ...], tuple[Cleaning, Iterator[None]]] = {}


class CloudWatchEraser:
    """See `lifecycle.systems.base.Eraser`. Items: `log_event` (a line by rule), `log_line` (a line an officer chose),
    `log_stream` (its name names the user, or the tenant goes), `log_archive` (an object version), `log_group`."""

    name = "cloudwatch"
    method = (
        "streams that hold lines of the subject rewritten without them, copies compared before DeleteLogStream; lines over "
        "14 days old kept as cleaned archives in S3; a tenant's own groups by DeleteLogGroup "
        "(CloudWatch Logs 2014-03-28; the provider may need up to 72 hours to remove deleted log data from its storage)"
    )
    batch = 5_000
    clean_passes = 1

    def __init__(self, place: Mapping[str, str], datamap: DataMap) -> None:
        self._place = dict(place)
        self._logs = datamap.logs
        self._service = Service(place)
        self._archive = Archive(place)
        self._canaries = Canaries(self._service, self._archive, datamap.logs)
        self._clean: set[str] = set()

    # Finding

    def discover(self, scope: Scope, cursor: Any) -> Page[Item]:
        """Cursor: positions in groups, streams, events, archives; names stay out of it, since it is stored in clear."""
        groups = groups_of(self._logs, scope.subject.tenant)
        at = cursor or _START
        known: dict[str, list[Stream]] = {}
        items: list[Item] = []
        end = time.monotonic() + SECONDS
        with translated():
            while at["group"] < len(groups):
                group = groups[at["group"]]
                if group.name not in known:
                    known[group.name] = self._service.streams(group.name)
                found, at = self._step(scope, group, known[group.name], at)
                items += found
                if found:
                    self._clean.discard(group.name)
                if len(items) >= ENTRIES or time.monotonic() > end:
                    return Page(items, at if at["group"] < len(groups) else None)
        return Page(items, None)

    def _step(
        self, scope: Scope, group: Group, streams: list[Stream], at: dict[str, Any]
    ) -> tuple[list[Item], dict[str, Any]]:
        if at["stream"] >= len(streams):
            return self._archived(scope, group, at)
        stream, judge = streams[at["stream"]], LineJudge(scope, self._logs)
        lines, token = self._service.page(group.name, stream.name, at["event"])
        items = [self._event(scope, group, line) for line in lines if judge.owns(line, group)]
        if at["event"] is None and (goes_whole(scope, group) or named_after(scope, stream.name)):
            items.append(self._item(scope, "log_stream", json.dumps([group.name, stream.name])))
        if token is None:
            return items, {**at, "stream": at["stream"] + 1, "event": None}
        return items, {**at, "event": token}

    def _archived(self, scope: Scope, group: Group, at: dict[str, Any]) -> tuple[list[Item], dict[str, Any]]:
        """One archive; after the last one the group itself, and the next group."""
        versions, judge = self._archive.versions(group_prefix(group.name)), LineJudge(scope, self._logs)
        if at["archive"] < len(versions):
            version = versions[at["archive"]]
            lines = self._archive.lines(version)
            items = [self._event(scope, group, line) for line in lines if judge.owns(line, group)]
            if goes_whole(scope, group):
                items.append(self._item(scope, "log_archive", json.dumps([version.key, version.version])))
            return items, {**at, "archive": at["archive"] + 1}
        items = []
        if goes_whole(scope, group) and self._service.exists(group.name):
            items.append(self._item(scope, "log_group", json.dumps([group.name])))
        return items, {**_START, "group": at["group"] + 1}

    def _event(self, scope: Scope, group: Group, line: Line) -> Item:
        return self._item(scope, "log_event", line_key(group.name, line), len(line.message))

    def _item(self, scope: Scope, kind: str, key: str, size: int = 0) -> Item:
        kept = self._logs.category in scope.retained
        return Item(kind, key, self._logs.category, Action.RETAIN if kept else Action.ERASE, size)

    # Erasing

    def erase(self, scope: Scope, items: Sequence[Item], gate: Gate) -> Tally:
        """Cleans every group that the items name. While a rewriting goes on `taken` is 0 and detail says `working`."""
        tally = Tally()
        with translated():
            for group, chosen in self._work(scope, items).items():
                if not chosen and group.name in self._clean:
                    continue
                if not self._drive(scope, group, chosen, gate, tally):
                    tally.detail["working"] = True
                    return tally
                if not chosen:
                    self._clean.add(group.name)
            for item in items:
                self._erase_whole(item, gate, tally)
        tally.taken = len(items)
        return tally

    def _work(self, scope: Scope, items: Sequence[Item]) -> dict[Group, dict[str, str | None]]:
        """The groups to clean; for lines that were chosen one by one, with their digests."""
        known = {group.name: group for group in groups_of(self._logs, scope.subject.tenant)}
        work: dict[Group, dict[str, str | None]] = {}
        for item in items:
            if item.kind not in ("log_event", "log_stream", "log_line"):
                continue
            name, *rest = json.loads(item.key)
            group = known.get(name) or Group(name, None)
            chosen = work.setdefault(group, {})
            if item.kind == "log_line":
                chosen[rest[1]] = None
        return work

    def _erase_whole(self, item: Item, gate: Gate, tally: Tally) -> None:
        parts = json.loads(item.key)
        if item.kind == "log_group":
            tally.erased += self._service.delete_group(parts[0], gate)
        elif item.kind == "log_filter":
            tally.erased += self._service.delete_filter(parts[0], parts[1], parts[2], gate)
        elif item.kind == "log_archive":
            try:
                tally.erased += self._archive.delete(Version(parts[0], parts[1], True), gate)
            except LockedVersion:
                why = "An archive of logs is under retention or a legal hold in S3."
                tally.locked.append(Locked(item, None, why))
        elif item.kind not in ("log_event", "log_stream", "log_line"):
            raise Permanent(f"CloudWatch Logs has no items of kind {item.kind}.")

    def _drive(
        self, scope: Scope, group: Group, chosen: Mapping[str, str | None], gate: Gate, tally: Tally
    ) -> bool:
        """Goes on with the cleaning of one group until it ends (True) or the batch does (False)."""
        subject = scope.subject
        key = (
            self._service.endpoint,
            self._service.region,
            group,
            subject,
            scope.canaries,
            frozenset(chosen.items()),
        )
        if key not in _RUNNING:
            cleaning = Cleaning(self._place, self._logs, scope, group, chosen)
            _RUNNING[key] = (cleaning, cleaning.steps())
        cleaning, steps = _RUNNING[key]
        cleaning.turn.gate = gate
        ended = True
        try:
            while gate.remaining() > LEAST:
                if next(steps, self) is self:
                    tally.erased += cleaning.erased
                    return True
            ended = False
            return False
        finally:
            if ended:
                _RUNNING.pop(key, None)
                cleaning.close()

    def redact(self, scope: Scope, item: Item, gate: Gate) -> Tally:
        """Rewrites one line of somebody else with the subject's identifiers blotted out."""
        name, timestamp, wanted = json.loads(item.key)
        groups = {group.name: group for group in groups_of(self._logs, scope.subject.tenant)}
        group = groups.get(name) or Group(name, None)
        tally = Tally()
        with translated():
            text = self._line(group.name, timestamp, wanted)
            if text is None:
                return Tally(taken=1)
            if self._drive(scope, group, {wanted: _blotted(Needles.of(scope), text)}, gate, tally):
                tally.taken = 1
            else:
                tally.detail["working"] = True
        return tally

    def _line(self, group: str, timestamp: int, wanted: str) -> str | None:
        for stream in self._service.streams(group):
            for page in self._service.pages(group, stream.name, start=timestamp):
                for line in page:
                    if line.timestamp == timestamp and digest(line) == wanted:
                        return line.message
                if page[-1].timestamp > timestamp:
                    break
        for version in self._archive.versions(group_prefix(group)):
            for line in self._archive.lines(version):
                if line.timestamp == timestamp and digest(line) == wanted:
                    return line.message
        return None

    def finish(self, scope: Scope, gate: Gate) -> Tally:
        """Nothing is left to close: a deletion is final for every reader at once."""
        return Tally()

    # Canaries

    def plant(self, scope: Scope, shape: str, marker: str) -> Planted:
        with translated():
            return self._canaries.plant(scope, shape, marker)

    def shapes(self, scope: Scope) -> Sequence[str]:
        with translated():
            return self._canaries.shapes(scope)

    def lift(self, planted: Planted) -> None:
        with translated():
            self._canaries.lift(planted)

    def anchors(self, scope: Scope) -> Mapping[str, tuple[str, ...]]:
        return {}

    def identify(self, scope: Scope) -> Subject:
        return scope.subject

    def close(self) -> None:
        self._service.close()
        self._archive.close()


def _blotted(needles: Needles, text: str) -> str:
    pieces, at = [], 0
    for found in needles.find_all(text):
        pieces += [text[at : found.start], "[erased]"]
        at = found.end
    return "".join([*pieces, text[at:]])


def connect(place: Mapping[str, str], datamap: DataMap) -> CloudWatchEraser:
    """The eraser of the logs at place["endpoint"] in place["region"], with the archive of place["archive_bucket"]."""
    return CloudWatchEraser(place, datamap)
