"""Erases a subject's vectors from every namespace of every index of the project.

Reads lag behind writes: before a namespace is read again, its reads must have caught up with this eraser's last
write there. Deleted vectors stay with the provider for up to 90 days, where no request reaches them.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import (
    Action,
    BatchOver,
    Gate,
    Item,
    Page,
    Permanent,
    Planted,
    Scope,
    SharedGate,
    Subject,
    Tally,
    Transient,
)
from lifecycle.systems.items import Items, Run
from lifecycle.systems.pinecone import canaries
from lifecycle.systems.pinecone.control import Control
from lifecycle.systems.pinecone.finding import Finder
from lifecycle.systems.pinecone.kinds import BACKUP, VECTOR, vector_parts
from lifecycle.systems.pinecone.layout import Layout
from lifecycle.systems.pinecone.wire import Index, Wire

PAGE, SECONDS, THREADS, SEND = 4_000, 8.0, 4, 1_000
CATCH_UP = 60.0
REST, REST_AT_MOST = 0.5, 10.0

_Step = tuple[
    dict[str, Any], list[str], dict[str, Any] | None
]  # a state, what it gave, the state that follows


def connect(place: Mapping[str, str], datamap: DataMap) -> PineconeEraser:
    """The eraser of the project at `place` (control_host, index_host, index, key)."""
    return PineconeEraser(place, Layout(datamap.vectors))


@dataclass(frozen=True, slots=True)
class _Request:
    """Consecutive ids of one namespace, for one request."""

    index: str
    namespace: str
    ids: list[str] = field(default_factory=list)


class PineconeEraser:
    """See `lifecycle.systems.base.Eraser`. Item keys are JSON: [index, namespace, id]."""

    name = "pinecone"
    method = (
        "Pinecone data plane API 2025-10: deletion by id, at most 1,000 a call, empty namespaces of the tenant deleted; "
        "logically deleted, provider purge within 90 days"
    )
    batch = 4_000
    clean_passes = 2

    def __init__(self, place: Mapping[str, str], layout: Layout) -> None:
        self._control = Control(place)
        self._main = place["index"]
        self._layout = layout
        self._wire = Wire(place["key"], THREADS + 1)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pinecone")
        self._asking = threading.Lock()
        self._indexes: dict[str, Index] = {}
        self._written: dict[tuple[str, str], int] = {}
        self._probes: dict[tuple[str, str], list[str]] = {}
        self._seen: set[int] = set()
        self._ahead: deque[_Step] = deque()  # steps that were read while waiting, in their order

    def discover(self, scope: Scope, cursor: Any) -> Page[Item]:
        """One page: of the tenant's own namespaces, then of strays in every other one."""
        if cursor is None:
            self._seen = set()
            self._refresh()
            self._catch_up()
        finder = Finder(
            scope, self._layout, self._refresh() if not self._indexes else self._indexes, self._pool
        )
        if cursor is None:
            self._come_to_rest(scope, finder)
        kept = self._layout.category in set(scope.retained) | scope.held_categories
        action = Action.RETAIN if kept else Action.ERASE
        state = cursor or finder.start()
        found: list[str] = []
        ends = time.monotonic() + SECONDS
        while state is not None and len(found) < PAGE and time.monotonic() < ends:
            keys, state = self._step(finder, state)
            for key in keys:
                if hash(key) not in self._seen:
                    self._seen.add(hash(key))
                    found.append(key)
        return Page(Items([Run(VECTOR, self._layout.category, action, found)]), state)

    def erase(self, scope: Scope, items: Sequence[Item], gate: Gate) -> Tally:
        """Deletes exactly these vectors; a backup only where an officer's decision passes it as an item."""
        if items and items[0].kind == BACKUP:
            with self._asking:
                gate.check()
            _, backup = json.loads(items[0].key)
            return Tally(taken=1, erased=int(self._control.delete_backup(backup)))
        vectors = _until_backup(items)
        over = threading.Event()
        outcomes = list(self._pool.map(lambda run: self._carry_out(run, gate, over), _runs(vectors)))
        tally = Tally()
        for _, error in outcomes:
            if error is not None and not isinstance(error, BatchOver):
                raise error
        for done, _error in outcomes:
            if not done:
                break
            tally.taken += done
        if not tally.taken and items:
            raise BatchOver
        tally.erased = tally.taken
        return tally

    def finish(self, scope: Scope, gate: Gate) -> Tally:
        """Deletes the namespaces that the erasure has emptied. Raises Permanent naming backups, which hold copies."""
        self._refresh()
        self._catch_up(gate)
        tally = Tally()
        for index in self._indexes.values():
            for namespace in self._to_drop(scope, index):
                with self._asking:
                    gate.check()
                index.delete_namespace(namespace, gate)
                self._written.pop((index.name, namespace), None)
                self._probes.pop((index.name, namespace), None)
                tally.detail["namespaces"] = tally.detail.get("namespaces", 0) + 1
        backups = self._control.backups()
        if backups:
            named = ", ".join(f"{each.id} of index {each.index}" for each in backups[:10])
            raise Permanent(
                f"{len(backups)} Pinecone backups were made before this erasure and may hold the subject's vectors: "
                f"{named}. Nothing can be taken out of a backup: delete them, then retry."
            )
        tally.detail["purge_within_days"] = 90
        return tally

    def shapes(self, scope: Scope) -> Sequence[str]:
        """The shapes this subject's vectors can have; none where they are all kept."""
        if self._layout.category in set(scope.retained) | scope.held_categories:
            return ()
        return canaries.shapes(scope)

    def plant(self, scope: Scope, shape: str, marker: str) -> Planted:
        """Plants one canary in the environment's index and waits until reads show it."""
        index = self._index(self._main)
        planted, namespace, vector = canaries.make(scope, self._layout, index, shape, marker)
        if vector["id"] not in index.metadata(namespace, [vector["id"]]):
            self._note(index.name, namespace, index.upsert(namespace, vector).written)
        ends = time.monotonic() + CATCH_UP
        while vector["id"] not in index.metadata(namespace, [vector["id"]]):
            if time.monotonic() > ends:
                raise Transient("Pinecone did not show a canary within a minute; try again.")
            time.sleep(0.05)
        return planted

    def lift(self, planted: Planted) -> None:
        """Removes a canary, and its namespace where it was alone there."""
        name, namespace, vector_id, alone = json.loads(planted.place)
        index, gate = self._index(name), canaries.Brief()
        answer = index.delete(namespace, [vector_id], gate)
        self._note(name, namespace, answer.written, [vector_id])
        if alone:
            self._refresh()
            self._catch_up()
            if index.is_empty(namespace):
                index.delete_namespace(namespace, gate)

    def anchors(self, scope: Scope) -> Mapping[str, tuple[str, ...]]:
        """Vectors lead to nothing elsewhere."""
        return {}

    def identify(self, scope: Scope) -> Subject:
        """Vectors know no mail and no name that the map would tell."""
        return scope.subject

    def close(self) -> None:
        """Ends the threads and closes the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._wire.close()

    def _refresh(self) -> dict[str, Index]:
        self._indexes = {name: Index(self._wire, name, host) for name, host in self._control.hosts().items()}
        return self._indexes

    def _index(self, name: str) -> Index:
        index = self._indexes.get(name) or self._refresh().get(name)
        if index is None:
            raise Permanent(f"There is no Pinecone index {name!r} in this project any more.")
        return index

    def _carry_out(self, run: _Request, gate: Gate, over: threading.Event) -> tuple[int, Exception | None]:
        if over.is_set():
            return 0, None
        try:
            answer = self._index(run.index).delete(run.namespace, run.ids, SharedGate(gate, self._asking))
            self._note(run.index, run.namespace, answer.written, run.ids)
        except Exception as error:
            over.set()
            return 0, error
        return len(run.ids), None

    def _note(self, index: str, namespace: str, written: int | None, ids: Sequence[str] = ()) -> None:
        place = (index, namespace)
        with self._asking:
            if written is not None:
                self._written[place] = max(written, self._written.get(place, 0))
            elif ids:
                self._probes[place] = list(ids[-100:])

    def _catch_up(self, gate: Gate | None = None) -> None:
        """Wait until reads see the last write in each namespace: by LSN, else until what was deleted is out of sight.

        Raises BatchOver when that takes longer than the gate is open, Transient after a minute.
        """
        ends = time.monotonic() + (CATCH_UP if gate is None else gate.remaining())
        for notes in (self._written, self._probes):
            for place in [place for place in notes if place[0] not in self._indexes]:
                notes.pop(place)  # the index is deleted, with all its vectors
        for (name, namespace), written in list(self._written.items()):
            index = self._index(name)
            while (seen := index.visible(namespace)) is not None and seen < written:
                _pause(ends, gate)
        for (name, namespace), ids in list(self._probes.items()):
            while self._index(name).metadata(namespace, ids):
                _pause(ends, gate)
            self._probes.pop((name, namespace))

    def _come_to_rest(self, scope: Scope, finder: Finder) -> None:
        """Where another process wrote last, and how far is unknown: wait until reads of the namespaces stand still.

        Else what that process deleted a moment ago would be found, and counted, again. What is read while waiting
        counts only where they stood still from before the first page to after the last.
        """
        places = [
            (index, namespace)
            for index in self._indexes.values()
            for namespace in self._layout.own(scope.subject.tenant)
            if (index.name, namespace) not in self._written
        ]
        ends = time.monotonic() + REST_AT_MOST
        before = [index.visible(namespace) for index, namespace in places]
        while any(seen is not None for seen in before):
            since = time.monotonic()
            self._ahead = _read_ahead(finder, since + REST)
            time.sleep(max(0.0, since + REST - time.monotonic()))
            now = [index.visible(namespace) for index, namespace in places]
            if now == before or time.monotonic() > ends:
                return
            before = now
        self._ahead.clear()

    def _step(self, finder: Finder, state: dict[str, Any]) -> tuple[list[str], dict[str, Any] | None]:
        if self._ahead and self._ahead[0][0] == state:
            _, keys, following = self._ahead.popleft()
            return keys, following
        self._ahead.clear()
        return finder.step(state)

    def _to_drop(self, scope: Scope, index: Index) -> Iterator[str]:
        kept = self._layout.category in set(scope.retained) | scope.held_categories
        tenant = scope.subject.tenant
        own = set(self._layout.own(tenant))
        wanted = {self._layout.second(tenant)} - own - set(self._layout.shared())
        if scope.subject.user is None and not scope.spared_users and not kept:
            wanted |= own
        for namespace in sorted(wanted & set(all_namespaces(index))):
            if index.is_empty(namespace):
                yield namespace


def _read_ahead(finder: Finder, until: float) -> deque[_Step]:
    steps: deque[_Step] = deque()
    state = finder.start()
    while state is not None and time.monotonic() < until:
        keys, following = finder.step(state)
        steps.append((state, keys, following))
        state = following
    return steps


def all_namespaces(index: Index) -> Iterator[str]:
    """Every namespace of an index."""
    token: str | None = None
    while True:
        names, token = index.namespaces(token)
        yield from names
        if not token:
            return


def _runs(items: Iterable[Item]) -> list[_Request]:
    runs: list[_Request] = []
    keys = [key for run in Items.of(items).runs for key in run.keys]
    for index, namespace, vector_id in vector_parts(keys):
        last = runs[-1] if runs else None
        if last is None or (last.index, last.namespace) != (index, namespace) or len(last.ids) >= SEND:
            last = _Request(index, namespace)
            runs.append(last)
        last.ids.append(vector_id)
    return runs


def _until_backup(items: Sequence[Item]) -> Sequence[Item]:
    return Items(takewhile(lambda run: run.kind != BACKUP, Items.of(items).runs))


def _pause(ends: float, gate: Gate | None) -> None:
    if time.monotonic() > ends:
        if gate is not None:
            raise BatchOver
        raise Transient("Pinecone's reads have not caught up with its writes within a minute; try again.")
    time.sleep(0.05)
