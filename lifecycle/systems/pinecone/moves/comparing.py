"""Whether the follower's vectors are the owner's: both listings, both ways, values and metadata hashed on both sides.

Reads lag behind writes, so that one look proves nothing: a difference counts once two looks some seconds apart agree
while the owner's rows stand still and the applier owes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lifecycle.systems.base import Page
from lifecycle.systems.ledger import Ledger
from lifecycle.systems.movable import Difference, Kind
from lifecycle.systems.pinecone.moves.follower import VectorFollower
from lifecycle.systems.pinecone.moves.store import Store, digest, key_of, split

PATIENCE = 15.0  # seconds that the applier is given for what it owes, before it counts as a difference
APART = 2.5  # seconds between the two looks that must agree: a write in progress is over by then
PAGES = 10
_PAUSE = 0.25
_MOST = 5_000
Lister = Callable[[Store, str, str | None], tuple[list[str], str | None]]


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at a vector: digests on both sides ("" for none), and the newest change that the owner's rows know."""

    mine: str
    theirs: str
    version: int
    at: float


class Comparison:
    """One move's comparison. `here` is the follower's ledger, `there` the owner's."""

    def __init__(
        self,
        follower: VectorFollower,
        namespaces: Sequence[str],
        ids: Lister,
        here: Ledger | None,
        there: Ledger | None,
    ) -> None:
        self._follower, self._namespaces, self._ids = follower, namespaces, ids
        self._here, self._there = here, there

    def slice(self, cursor: Any, seconds: float) -> Page[Difference]:
        """Compares for at most `seconds` (a page and a second look more)."""
        ends = time.monotonic() + seconds
        state = dict(cursor) if cursor else {"way": "forth", "namespace": 0, "token": None}
        suspects: list[str] = []
        while True:
            found, following = self._pages(state)
            suspects += found
            if following is None or time.monotonic() >= ends or len(suspects) >= _MOST:
                return Page(self.judge(suspects), following)
            state = following

    def judge(self, keys: Iterable[str]) -> list[Difference]:
        """Those of `keys` that really differ. What is on its way is waited for, and looked at again."""
        waiting, seen, found = list(dict.fromkeys(keys)), dict[str, _Look](), dict[str, _Look]()
        ends = time.monotonic() + PATIENCE
        while waiting:
            now = self._looks(waiting)
            applied = self._here.applied("pinecone", waiting) if self._here else {}
            late = time.monotonic() >= ends
            again = []
            for key in waiting:
                look, first = now[key], seen.get(key)
                if look.mine == look.theirs:
                    continue
                owed = self._here is not None and applied.get(key, (-1, ""))[0] < look.version
                if first is None or (first.mine, first.theirs, first.version) != (
                    look.mine,
                    look.theirs,
                    look.version,
                ):
                    seen[key], settled = look, False
                else:
                    settled = look.at - first.at >= APART and not owed
                if settled or late:
                    found[key] = look
                else:
                    again.append(key)
            waiting = again
            if waiting:
                time.sleep(_PAUSE)
        return self._named(found)

    # Pages of suspects

    def _pages(self, state: dict[str, Any]) -> tuple[list[str], dict[str, Any] | None]:
        if not self._namespaces:
            return [], None
        namespace, forth = self._namespaces[state["namespace"]], state["way"] == "forth"
        here = self._follower.source if forth else self._follower.target
        ids, token = [], state["token"]
        for _ in range(PAGES):
            page, token = self._ids(here, namespace, token)
            ids += page
            if token is None:
                break
        mine = self._digests(self._follower.source, namespace, ids)
        if forth:
            theirs = self._digests(self._follower.target, namespace, ids)
            suspects = [each for each in ids if mine.get(each, "") != theirs.get(each, "")]
        else:
            suspects = [each for each in ids if each not in mine]
        return [key_of(namespace, each) for each in suspects], self._after(state, token)

    def _after(self, state: dict[str, Any], token: str | None) -> dict[str, Any] | None:
        if token is not None:
            return {**state, "token": token}
        if state["namespace"] + 1 < len(self._namespaces):
            return {**state, "namespace": state["namespace"] + 1, "token": None}
        return {"way": "back", "namespace": 0, "token": None} if state["way"] == "forth" else None

    def _digests(self, store: Store, namespace: str, ids: Sequence[str]) -> dict[str, str]:
        return {each: digest(vector) for each, vector in self._follower.fetch(store, namespace, ids).items()}

    # Looks

    def _looks(self, keys: Sequence[str]) -> dict[str, _Look]:
        said = self._there.newest("pinecone", keys) if self._there else {}
        mine, theirs = self._both(keys)
        now = time.monotonic()
        return {
            key: _Look(mine.get(key, ""), theirs.get(key, ""), said[key].version if key in said else -1, now)
            for key in keys
        }

    def _both(self, keys: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        mine: dict[str, str] = {}
        theirs: dict[str, str] = {}
        for namespace, group in groupby(sorted(map(split, keys)), key=lambda pair: pair[0]):
            ids = [vector_id for _, vector_id in group]
            for store, found in ((self._follower.source, mine), (self._follower.target, theirs)):
                digests = self._digests(store, namespace, ids)
                found |= {key_of(namespace, each): value for each, value in digests.items()}
        return mine, theirs

    def _named(self, found: Mapping[str, _Look]) -> list[Difference]:
        keys = list(found)
        said = self._there.newest("pinecone", keys) if self._there and keys else {}
        ever = self._there.digests("pinecone", keys) if self._there and keys else {}
        applied = self._here.applied("pinecone", keys) if self._here and keys else {}
        named = []
        for key, look in found.items():
            version, op = applied.get(key, (-1, ""))
            if not look.mine:
                deleted = op == "delete" or (key in said and said[key].op == "delete")
                kind = Kind.RESURRECTED if deleted else Kind.FOREIGN
            elif not look.theirs:
                kind = Kind.MISSING
            else:
                older = look.theirs in ever.get(key, ()) or (
                    self._here is not None and version < look.version
                )
                kind = Kind.STALE if older else Kind.CORRUPTED
            named.append(Difference(kind, "pinecone", "vector", key))
        return named
