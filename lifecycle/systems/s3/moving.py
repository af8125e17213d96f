"""A tenant's objects from one region's bucket to the other's: every version in its order, each proven.

Copies go through our own pool: byte for byte, with metadata, tags and delete markers. A version counts as stored once the
server's answer names the MD5 of what was sent; where its ETag is none, and for the first of each form of description, it is
read back and hashed. Large ones go through s5cmd. How it compares with rclone: docs/benchmarks.md.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Gate, Page, Scope, Subject
from lifecycle.systems.ledger import LOCKS, Change, Holding, open_ledger
from lifecycle.systems.movable import Difference, Finding, Kind, Lag, Move, Progress
from lifecycle.systems.movable import Side as MoveSide
from lifecycle.systems.pace import Pace
from lifecycle.systems.s3.layout import Layout, Root
from lifecycle.systems.s3.listing import versions
from lifecycle.systems.s3.moves import cleaning, planning
from lifecycle.systems.s3.moves.comparing import Comparison
from lifecycle.systems.s3.moves.follower import S3Follower
from lifecycle.systems.s3.moves.keys import History, Version
from lifecycle.systems.s3.moves.pages import PAGE, both
from lifecycle.systems.vacating import flowing, refuse

PASSES = 5
_NOTHING: History = ()


class S3Mover:
    """One tenant's move, as S3 sees it. Use it in one thread.

    `objects_per_second` and `bytes_per_second` on the source's place limit the copy.
    """

    name = "s3"

    def __init__(self, move: Move, datamap: DataMap) -> None:
        self.move = move
        layout = Layout(datamap.objects)
        self.roots = layout.roots(Scope(Subject(move.tenant)))
        self.follower = S3Follower(move.source.place, move.target.place)
        self.pair, self.pool = self.follower.pair, self.follower.pool
        self.pace, self.bytes = (
            Pace.of(move.source.place, name) for name in ("objects_per_second", "bytes_per_second")
        )
        self.here = open_ledger(move.target.place.get("ledger_dsn"), move.tenant)
        self.there = open_ledger(move.source.place.get("ledger_dsn"), move.tenant)

    def plan(self) -> Sequence[Finding]:
        """What stands in the way; changes nothing."""
        return planning.findings(self.pair, self.roots, self.pool)

    def size(self) -> Mapping[str, int]:
        """Versions and bytes of the source's part, counted by listing."""
        items = total = 0
        for root in self.roots:
            after: dict[str, str] | None = None
            while True:
                listing = versions(self.pair.source.wire, root.prefix, after)
                mine = [entry for entry in listing.entries if root.matches(entry.key)]
                items, total = items + len(mine), total + sum(entry.size for entry in mine)
                after = listing.more
                if after is None:
                    break
        return {"items": items, "bytes": total}

    def copy(self, cursor: Any, seconds: float) -> Progress:
        """Copies for at most `seconds` (a page more). Passes repeat until one finds nothing left to copy."""
        ends = time.monotonic() + seconds
        state = dict(cursor) if cursor else self._first()
        while True:
            state = self._copy_page(state)
            if state["root"] >= len(self.roots):
                if not state["copied"] or state["pass"] >= PASSES:
                    return self._progress(None, state)
                state |= {"root": 0, "after": None, "pass": state["pass"] + 1, "copied": 0}
            if time.monotonic() >= ends:
                return self._progress(state, state)

    def lag(self) -> Lag:
        """Keys that the source's rows name and the target has not applied."""
        if self.here is None:
            return Lag(0, 0.0)
        waiting = self.here.waiting(self.name, self.move.source.region)
        return Lag(waiting.keys, waiting.seconds)

    def compare(self, cursor: Any, seconds: float) -> Page[Difference]:
        """Compares both listings, both ways, and the bytes of every version on both sides."""
        return self._comparison().slice(cursor, seconds)

    def compare_keys(self, keys: Sequence[str]) -> list[Difference]:
        """Compares these keys alone: under the fence only those that changed since the last clean pass."""
        return self._comparison().judge(keys)

    def repair(self, differences: Sequence[Difference]) -> int:
        """Brings the target's history of each key level with the source's; returns how many it mended."""
        gone = {each.key for each in differences if each.kind in (Kind.FOREIGN, Kind.RESURRECTED)}
        keys = [each.key for each in differences if each.store == self.name]
        return sum(self._mend_part(part, gone) for part in _parts(keys))

    def clean(self, side: MoveSide, gate: Gate | None = None) -> None:
        """Removes every version, marker and unfinished upload of the tenant on a side that was given up.

        With a gate: until its batch is over (BatchOver: open the next one and call again).
        """
        own, other = (
            (self.here, self.there) if side.region == self.move.target.region else (self.there, self.here)
        )
        refuse(self.move, side, own, other, self.name)
        cleaning.clean(side.place, self.roots, gate)
        if own is not None:
            own.forget(self.name)

    def close(self) -> None:
        """Ends threads and connections."""
        self.follower.close()
        for ledger in (self.here, self.there):
            if ledger is not None:
                ledger.close()

    # Copying

    def _first(self) -> dict[str, Any]:
        size = self.size()
        return {
            "root": 0,
            "after": None,
            "pass": 1,
            "copied": 0,
            "done": 0,
            "bytes": 0,
            "total": size["items"],
        }

    def _copy_page(self, state: dict[str, Any]) -> dict[str, Any]:
        root: Root = self.roots[state["root"]]
        source, target = self.pair.source, self.pair.target
        size, exact = self.pace.part(PAGE), state["pass"] > 1
        found, have = both(self.pool, source, target, root, state["after"], size, exact=exact)
        todo = [key for key, mine in found.keys.items() if not _stands(mine, have.get(key, _NOTHING))]
        moved = self._copy_keys(todo, found.keys, have)
        ready = (
            state["done"] + sum(len(mine) for mine in found.keys.values())
            if state["pass"] == 1
            else state["done"]
        )
        at = {"after": found.more} if found.more else {"root": state["root"] + 1, "after": None}
        return {
            **state,
            **at,
            "done": ready,
            "copied": state["copied"] + len(todo),
            "bytes": state["bytes"] + moved,
        }

    def _copy_keys(self, keys: list[str], mine: Mapping[str, History], have: Mapping[str, History]) -> int:
        return sum(self._copy_part(part, mine, have) for part in _parts(keys, self.pace.part(LOCKS, 1.0)))

    def _copy_part(
        self, keys: Sequence[str], mine: Mapping[str, History], have: Mapping[str, History]
    ) -> int:
        with self._holding(keys) as held:
            known = held.known(keys) if held is not None else {}
            wanted = [key for key in keys if key not in known or known[key].op != "delete"]
            return sum(
                self.pool.map(
                    lambda key: self._copy_key(key, mine[key], have.get(key, _NOTHING), key in known), wanted
                )
            )

    def _copy_key(self, key: str, mine: History, theirs: History, known: bool) -> int:
        self.pace.take(1)
        self.bytes.take(sum(version.size for version in mine))
        # The applier may have been quicker with what the rows name; while the keys are held it can't be.
        if not theirs and not (known and self.pair.target.client.look(key)[0]):
            return self.pair.append(key, mine)
        return self.pair.follow(key)[0]

    def _progress(self, cursor: dict[str, Any] | None, state: Mapping[str, Any]) -> Progress:
        note = "" if state["pass"] == 1 else f"pass {state['pass']}"
        done = min(state["done"], state["total"]) if cursor else state["done"]
        return Progress(cursor, done, max(state["total"], state["done"]), "versions", state["bytes"], note)

    # Mending

    def _mend_part(self, keys: Sequence[str], gone: Container[str]) -> int:
        said = self.there.newest(self.name, keys) if self.there else {}
        with self._holding(keys) as held:
            results = self.pool.map(lambda key: self._mend(key, key in gone, said.get(key)), keys)
            done = [key for key, good in zip(keys, results, strict=True) if good]
            if held is not None:
                held.note([said[key] for key in done if key in said])
        return len(done)

    def _mend(self, key: str, gone: bool, said: Change | None) -> bool:
        source, target = self.pair.source, self.pair.target
        mine = source.history(key)
        if mine or not gone:
            if mine:
                self.pair.level(key)
            return bool(mine)
        # Only what the owner's store and rows both disclaim is removed, and the store is asked twice.
        if (
            (said is not None and said.op == "put")
            or source.client.head(key) is not None
            or source.history(key)
        ):
            return False
        for version in target.history(key):
            target.client.remove(key, version.id)
        return True

    # Both

    def _comparison(self) -> Comparison:
        return Comparison(self.pair, self.roots, self.pool, self.here, self.there)

    @contextmanager
    def _holding(self, keys: Sequence[str]) -> Iterator[Holding | None]:
        if self.here is None:
            yield None
            return
        with self.here.holding(self.name, keys) as held:
            yield held


def _stands(mine: History, theirs: Sequence[Version]) -> bool:
    """Whether a history was copied as far as a listing tells. What it can't tell is left to the comparison."""
    return [(v.marker, v.size) for v in mine] == [(v.marker, v.size) for v in theirs]


def connect(move: Move, datamap: DataMap) -> S3Mover:
    """The mover of a move's objects. It follows the owner: after the flip its source is green."""
    return S3Mover(flowing(move), datamap)


def _parts(keys: Sequence[str], size: int = LOCKS) -> Iterator[Sequence[str]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
