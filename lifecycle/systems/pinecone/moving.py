"""A tenant's vectors from one region's index to the other's: listed, fetched and stored in parallel, under the limits.

A restore from a backup can't cross regions, and a bulk import needs a namespace that does not exist and Parquet in
object storage; list, fetch and upsert need neither and keep ids, values and metadata as they are.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Gate, Page, Permanent, Scope, Subject, Transient
from lifecycle.systems.ledger import LOCKS, Holding, open_ledger
from lifecycle.systems.movable import Difference, Finding, Kind, Lag, Move, Progress, Side
from lifecycle.systems.pace import Pace
from lifecycle.systems.pinecone.control import Control
from lifecycle.systems.pinecone.layout import Layout
from lifecycle.systems.pinecone.moves.comparing import Comparison
from lifecycle.systems.pinecone.moves.follower import VectorFollower
from lifecycle.systems.pinecone.moves.store import Store, digest, key_of, split
from lifecycle.systems.pinecone.wire import Index, Wire
from lifecycle.systems.vacating import OpenBatch, flowing, refuse

PAGES = 5  # listed pages (100 ids each) that are moved together, in one upsert
LANES = 2  # such parts on their way while the next is listed; each holds its keys
_METADATA = 256  # bytes of metadata guessed for each vector
_GONE = 30.0


@dataclass(frozen=True, slots=True)
class _Part:
    """What was copied together: vectors looked at, bytes, and the number (LSN) of the last write."""

    namespace: str
    number: int
    moved: int
    written: int | None


class PineconeMover:
    """One tenant's move, as Pinecone sees it. Use it in one thread.

    `vectors_per_second` on the source's place limits the copy.
    """

    name = "pinecone"

    def __init__(self, move: Move, datamap: DataMap) -> None:
        self.move = move
        self.layout = Layout(datamap.vectors)
        self.own = self.layout.own(move.tenant)
        self.namespaces = [*self.own, *self.layout.shared()]
        self.follower = VectorFollower(move.source.place, move.target.place)
        self.source, self.target = self.follower.source, self.follower.target
        self.pace = Pace.of(move.source.place, "vectors_per_second")
        self.here = open_ledger(move.target.place.get("ledger_dsn"), move.tenant)
        self.there = open_ledger(move.source.place.get("ledger_dsn"), move.tenant)
        self._filter = self.layout.filter(Scope(Subject(move.tenant)))

    def plan(self) -> Sequence[Finding]:
        """What stands in the way; changes nothing."""
        try:
            return self._findings()
        except (Permanent, Transient) as error:
            return [Finding(True, f"The indexes of the move can't be read: {error}")]

    def size(self) -> Mapping[str, int]:
        """Vectors and bytes of the source's part, by the service's own counts, which lag a little."""
        stats = self.source.stats()
        counts = stats.get("namespaces", {})
        items = sum(int(counts.get(name, {}).get("vectorCount", 0)) for name in self.own)
        items += sum(len(ids) for name in self.layout.shared() for ids in self._all(self.source, name))
        return {"items": items, "bytes": items * (4 * int(stats.get("dimension", 0)) + _METADATA)}

    def copy(self, cursor: Any, seconds: float) -> Progress:
        """Copies for at most `seconds` (a thousand vectors more)."""
        state = self._copy_parts(dict(cursor) if cursor else self._first(), time.monotonic() + seconds)
        if state["namespace"] < len(self.namespaces):
            return self._progress(state, state)
        for name, written in state["written"].items():
            self.target.caught_up(name, written)
        return self._progress(None, state)

    def lag(self) -> Lag:
        """Vectors that the source's rows name and the target has not applied."""
        if self.here is None:
            return Lag(0, 0.0)
        waiting = self.here.waiting(self.name, self.move.source.region)
        return Lag(waiting.keys, waiting.seconds)

    def compare(self, cursor: Any, seconds: float) -> Page[Difference]:
        """Compares both listings, both ways, and the hash of every vector on both sides."""
        return self._comparison().slice(cursor, seconds)

    def compare_keys(self, keys: Sequence[str]) -> list[Difference]:
        """Compares these keys alone: under the fence only those that changed since the last clean pass."""
        return self._comparison().judge(keys)

    def repair(self, differences: Sequence[Difference]) -> int:
        """Brings each vector level with the source; returns how many it mended once reads show it."""
        keys = [each.key for each in differences if each.store == self.name]
        gone = {each.key for each in differences if each.kind in (Kind.FOREIGN, Kind.RESURRECTED)}
        return sum(self._mend(keys[at : at + LOCKS], gone) for at in range(0, len(keys), LOCKS))

    def clean(self, side: Side, gate: Gate | None = None) -> None:
        """Deletes the tenant's namespaces on a side that was given up, and its vectors in shared ones.

        With a gate: until its batch is over (BatchOver: open the next one and call again).
        """
        own, other = (
            (self.here, self.there) if side.region == self.move.target.region else (self.there, self.here)
        )
        refuse(self.move, side, own, other, self.name)
        wire, store = Wire(side.place["key"], 4), Store(side.place, 4)
        try:
            index = Index(wire, side.place["index"], side.place["index_host"].rstrip("/"))
            for name in self.own:
                index.delete_namespace(name, gate or OpenBatch())
            for name in self.layout.shared():
                for ids in self._all(store, name):
                    index.delete(name, ids, gate or OpenBatch())
            self._wait_empty(store)
            if own is not None:
                own.forget(self.name)
        finally:
            wire.close()
            store.close()

    def close(self) -> None:
        """Ends threads and connections."""
        self.follower.close()
        for ledger in (self.here, self.there):
            if ledger is not None:
                ledger.close()

    # Planning

    def _findings(self) -> list[Finding]:
        source, target = self.source.stats(), self.target.stats()
        if self.source.place["index_host"] == self.target.place["index_host"]:
            return [
                Finding(True, "Source and target are the same index; vectors would be moved onto themselves.")
            ]
        found = [
            Finding(
                False, "Pinecone keeps what is deleted from the old region for up to 90 days, out of reach."
            ),
        ]
        for trait in ("dimension", "metric", "vectorType"):
            if source.get(trait) != target.get(trait):
                found.append(
                    Finding(
                        True, f"The indexes differ in {trait} ({source.get(trait)}, {target.get(trait)})."
                    )
                )
        lies = sum(len(next(iter(self._all(self.target, name)), ())) for name in self.namespaces)
        if lies:
            found.append(
                Finding(
                    True,
                    "Vectors already lie in the tenant's namespaces of the target index. Find out whose they are; discard "
                    "what an earlier move left.",
                )
            )
        return [*found, *self._elsewhere()]

    def _elsewhere(self) -> list[Finding]:
        """Other indexes of the source's project in which the tenant has a namespace: nobody moves those."""
        place, found = self.source.place, []
        known = {place["index"], *filter(None, place.get("other_indexes", "").split(","))}
        for name, host in Control(place).hosts().items():
            if name in known:
                continue
            other = Store({**place, "index_host": host}, 1)
            try:
                if any(other.ids(namespace, None)[0] for namespace in self.own):
                    found.append(
                        Finding(
                            True, f"The tenant also has vectors in the index {name}, which does not move."
                        )
                    )
            finally:
                other.close()
        return found

    # Copying

    def _first(self) -> dict[str, Any]:
        total = self.size()["items"]
        return {"namespace": 0, "token": None, "done": 0, "bytes": 0, "total": total, "written": {}}

    def _copy_parts(self, state: dict[str, Any], ends: float) -> dict[str, Any]:
        """Part after part until `ends`, one at least: parts are fetched and stored while the next ones are listed.

        What is returned counts every part before it as arrived.
        """
        listed, begun = state, False
        # A slow copy would hold keys for longer.
        lanes = 1 if self.pace.per_second else LANES
        ahead: deque[tuple[dict[str, Any], Future[_Part]]] = deque()
        with ThreadPoolExecutor(lanes, thread_name_prefix="pinecone-copy") as pool:
            while True:
                more = listed["namespace"] < len(self.namespaces) and (not begun or time.monotonic() < ends)
                if more and len(ahead) < lanes:
                    namespace, ids, at = self._list(listed)
                    listed, begun = {**listed, **at}, True
                    ahead.append((at, pool.submit(self._copy_ids, namespace, ids)))
                elif ahead:
                    at, copied = ahead.popleft()
                    state = _after(state, at, copied.result())
                else:
                    return state

    def _list(self, state: Mapping[str, Any]) -> tuple[str, list[str], dict[str, Any]]:
        """Namespace and ids of the next part, and where the one behind it begins."""
        namespace, token = self.namespaces[state["namespace"]], state["token"]
        ids: list[str] = []
        for _ in range(max(1, self.pace.part(PAGES * 100) // 100)):
            page, token = self._ids(self.source, namespace, token)
            ids += page
            if token is None:
                return namespace, ids, {"namespace": state["namespace"] + 1, "token": None}
        return namespace, ids, {"namespace": state["namespace"], "token": token}

    def _copy_ids(self, namespace: str, ids: Sequence[str]) -> _Part:
        keys = [key_of(namespace, each) for each in ids]
        with self._holding(keys) as held:
            # What changed since the move began is the applier's: a lagging read must not overwrite what it brought.
            theirs = set(held.known(keys)) if held is not None else set()
            wanted = [each for each, key in zip(ids, keys, strict=True) if key not in theirs]
            self.pace.take(len(wanted))
            found = self.follower.fetch(self.source, namespace, wanted)
            written = self.target.upsert(namespace, found.values()) if found else None
        moved = sum(4 * len(vector.get("values") or ()) + _METADATA for vector in found.values())
        return _Part(namespace, len(ids), moved, written)

    def _progress(self, cursor: dict[str, Any] | None, state: Mapping[str, Any]) -> Progress:
        return Progress(cursor, state["done"], max(state["total"], state["done"]), "vectors", state["bytes"])

    # Mending

    def _mend(self, keys: Sequence[str], gone: set[str]) -> int:
        said = self.there.newest(self.name, keys) if self.there else {}
        mended: list[str] = []
        with self._holding(keys) as held:
            for namespace, ids in _by_namespace(keys).items():
                mended += self._mend_namespace(namespace, ids, gone, said)
            if held is not None:
                held.note([said[key] for key in mended if key in said])
        return len(mended)

    def _mend_namespace(
        self, namespace: str, ids: Sequence[str], gone: set[str], said: Mapping[str, Any]
    ) -> list[str]:
        found = self.follower.fetch(self.source, namespace, ids)
        written = self.target.upsert(namespace, found.values()) if found else None
        # Only what the owner's index and rows both disclaim is removed, never what a listing merely lacks.
        lost = [
            each
            for each in ids
            if each not in found
            and (key := key_of(namespace, each)) in gone
            and not (key in said and said[key].op == "put")
        ]
        if lost:
            written = self.target.delete(namespace, lost) or written
        self.target.caught_up(namespace, written)
        there = self.follower.fetch(self.target, namespace, ids)
        return [
            key_of(namespace, each)
            for each in (*found, *lost)
            if (digest(found[each]) if each in found else "")
            == (digest(there[each]) if each in there else "")
        ]

    # Both

    def _comparison(self) -> Comparison:
        return Comparison(self.follower, self.namespaces, self._ids, self.here, self.there)

    def _ids(self, store: Store, namespace: str, token: str | None) -> tuple[list[str], str | None]:
        if namespace in self.own:
            return store.ids(namespace, token)
        return store.of_tenant(namespace, self._filter, token)

    def _all(self, store: Store, namespace: str) -> Iterator[list[str]]:
        token: str | None = None
        while True:
            ids, token = self._ids(store, namespace, token)
            if ids:
                yield ids
            if token is None:
                return

    def _wait_empty(self, store: Store) -> None:
        ends = time.monotonic() + _GONE
        while any(True for name in self.namespaces for _ in self._all(store, name)):
            if time.monotonic() > ends:
                raise Transient("Pinecone still shows vectors that were deleted; try again later.")
            time.sleep(0.1)

    @contextmanager
    def _holding(self, keys: Sequence[str]) -> Iterator[Holding | None]:
        if self.here is None or not keys:
            yield None
            return
        with self.here.holding(self.name, keys) as held:
            yield held


def connect(move: Move, datamap: DataMap) -> PineconeMover:
    """The mover of a move's vectors. It follows the owner: after the flip its source is green."""
    return PineconeMover(flowing(move), datamap)


def _after(state: Mapping[str, Any], at: Mapping[str, Any], part: _Part) -> dict[str, Any]:
    known = state["written"].get(part.namespace)
    # Parts side by side may be stored in any order.
    newest = max((each for each in (known, part.written) if each is not None), default=None)
    return {
        **state,
        **at,
        "done": state["done"] + part.number,
        "bytes": state["bytes"] + part.moved,
        "written": state["written"] | ({part.namespace: newest} if newest is not None else {}),
    }


def _by_namespace(keys: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for namespace, vector_id in map(split, keys):
        found.setdefault(namespace, []).append(vector_id)
    return found
