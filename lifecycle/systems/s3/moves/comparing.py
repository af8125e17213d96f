"""Whether the follower's objects are the owner's: both listings, both ways, and every version's bytes on both sides.

What a listing shows is only a suspicion. It counts as a difference once the key, looked at exactly, differs while the
owner's rows and store stand still, and the applier owes it nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lifecycle.systems.base import Page
from lifecycle.systems.ledger import Change, Ledger
from lifecycle.systems.movable import Difference, Kind
from lifecycle.systems.s3.layout import Root
from lifecycle.systems.s3.moves.keys import History, Pair, live
from lifecycle.systems.s3.moves.pages import both

PATIENCE = 10.0  # seconds that the applier is given for what it owes, before it counts as a difference
YOUNG = 3.0  # seconds in which a write may not have been committed or announced yet
_PAUSE = 0.25
_MOST = 2000  # differences of one slice
_NOTHING: History = ()


@dataclass(frozen=True, slots=True)
class _Look:
    """One exact look at a key on both sides, and what the owner's rows say of it."""

    mine: History
    theirs: History
    kind: Kind | None
    version: int


class Comparison:
    """One move's comparison. `here` is the follower's ledger, `there` the owner's."""

    def __init__(
        self, pair: Pair, roots: Sequence[Root], pool: Executor, here: Ledger | None, there: Ledger | None
    ) -> None:
        self._pair, self._roots, self._pool = pair, roots, pool
        self._here, self._there = here, there

    def slice(self, cursor: Any, seconds: float) -> Page[Difference]:
        """Compares for at most `seconds` (a page and a second look more)."""
        ends = time.monotonic() + seconds
        state = dict(cursor) if cursor else {"way": "forth", "root": 0, "after": None}
        suspects: list[str] = []
        while True:
            found, following = self._page(state)
            suspects += found
            if following is None or time.monotonic() >= ends or len(suspects) >= _MOST:
                return Page(self.judge(suspects), following)
            state = following

    def judge(self, keys: Iterable[str]) -> list[Difference]:
        """Those of `keys` that really differ. What is on its way is waited for, and looked at again."""
        waiting, found = list(dict.fromkeys(keys)), dict[str, Kind]()
        seen: dict[str, _Look] = {}
        ends = time.monotonic() + PATIENCE
        while waiting:
            late = time.monotonic() >= ends
            again: list[str] = []
            for key, look in zip(waiting, self._looks(waiting), strict=True):
                if look.kind is None:
                    continue
                before = seen.get(key)
                still = before is not None and (before.mine, before.version) == (look.mine, look.version)
                if late or (still and not self._owed(key, look) and not _young(look)):
                    found[key] = look.kind
                else:
                    seen[key] = look
                    again.append(key)
            waiting = again
            if waiting:
                time.sleep(_PAUSE)
        return [Difference(kind, "s3", "object", key) for key, kind in found.items()]

    # Pages of suspects

    def _page(self, state: dict[str, Any]) -> tuple[list[str], dict[str, Any] | None]:
        if not self._roots:
            return [], None
        root = self._roots[state["root"]]
        forth = state["way"] == "forth"
        here, other = (
            (self._pair.source, self._pair.target) if forth else (self._pair.target, self._pair.source)
        )
        listing, have = both(self._pool, here, other, root, state["after"])
        if forth:
            judged: Callable[[str], bool] = lambda key: self._differs(  # noqa: E731 - mapped over the pool
                key, listing.keys[key], have.get(key, _NOTHING)
            )
            marks = list(self._pool.map(judged, listing.keys))
            suspects = [key for key, differs in zip(listing.keys, marks, strict=True) if differs]
        else:
            suspects = [key for key in listing.keys if key not in have]
        return suspects, self._after(state, listing.more)

    def _after(self, state: dict[str, Any], more: dict[str, str] | None) -> dict[str, Any] | None:
        if more is not None:
            return {**state, "after": more}
        if state["root"] + 1 < len(self._roots):
            return {**state, "root": state["root"] + 1, "after": None}
        if state["way"] == "forth":
            return {"way": "back", "root": 0, "after": None}
        return None

    def _differs(self, key: str, mine: History, theirs: History) -> bool:
        return len(mine) != len(theirs) or self._pair.agree(key, mine, theirs) != len(mine)

    # Exact looks

    def _looks(self, keys: Sequence[str]) -> list[_Look]:
        said = self._there.newest("s3", keys) if self._there else {}
        tombs = set()
        if self._here is not None:
            tombs = {key for key, (_, op) in self._here.applied("s3", keys).items() if op == "delete"}
        return list(self._pool.map(lambda key: self._look(key, said.get(key), key in tombs), keys))

    def _look(self, key: str, said: Change | None, tomb: bool) -> _Look:
        mine = self._pair.source.history(key)
        theirs = self._pair.target.history(key)
        version = said.version if said else -1
        deleted = tomb or (said is not None and said.op == "delete") or (bool(mine) and not live(mine))
        return _Look(mine, theirs, self._kind(key, mine, theirs, deleted), version)

    def _kind(self, key: str, mine: History, theirs: History, deleted: bool) -> Kind | None:
        if not self._differs(key, mine, theirs):
            return None
        if not mine or not live(mine):
            if not mine or live(theirs):
                return Kind.RESURRECTED if deleted else Kind.FOREIGN
            return Kind.MISSING if len(theirs) < len(mine) else Kind.STALE
        if not live(theirs):
            return Kind.MISSING
        top = self._pair.target.print_of(key, theirs[-1])
        prints = [self._pair.source.print_of(key, version) for version in mine]
        if top == prints[-1]:
            return Kind.MISSING if len(theirs) < len(mine) else Kind.CORRUPTED
        return Kind.STALE if top in prints else Kind.CORRUPTED

    def _owed(self, key: str, look: _Look) -> bool:
        """Whether the applier has still to bring this key."""
        if self._here is None or look.version < 0:
            return False
        return self._here.applied("s3", [key]).get(key, (-1, ""))[0] < look.version


def _young(look: _Look) -> bool:
    """Whether the owner's or the follower's newest version may still be part of a write that is going on."""
    newest = [versions[-1].dated for versions in (look.mine, look.theirs) if versions]
    return any((datetime.now(UTC) - _moment(dated)).total_seconds() < YOUNG for dated in newest if dated)


def _moment(dated: str) -> datetime:
    return datetime.fromisoformat(dated.replace("Z", "+00:00"))
