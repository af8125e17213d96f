"""Erases a subject's object versions, delete markers and unfinished uploads.

No listing is trusted alone: some servers drop entries at page edges without a word. One pass lists by versions and,
when little is left, again in other ways; the caller repeats passes until two in a row are empty.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import (
    Action,
    BatchOver,
    Gate,
    Item,
    Page,
    Planted,
    Scope,
    Subject,
    Tally,
    Transient,
)
from lifecycle.systems.s3 import canaries, deleting, listing
from lifecycle.systems.s3.kinds import item_key
from lifecycle.systems.s3.layout import Layout, Root, is_kept
from lifecycle.systems.s3.listing import Listed
from lifecycle.systems.s3.wire import Wire

PAGE, SECONDS = 4_000, 8.0
FIRST = 1_000
THREADS = 8
# Keys of one request. A server that is stopped in the middle of a request and wakes finishes all of it, whatever holds
# say by then; more keys a request are no faster, since servers delete key by key.
MOST_KEYS = 8
# Up to so many entries a pass, the other views cost less than the certainty they give.
FEW = 20_000
# Page sizes that share no edge with the first view's 1,000.
VIEWS: tuple[tuple[str, int], ...] = (("versions", 613), ("current", 337))


def connect(place: Mapping[str, str], datamap: DataMap) -> S3Eraser:
    """The eraser of the bucket at `place` (endpoint, bucket, key, secret; region where the endpoint doesn't tell)."""
    return S3Eraser(Wire(place, place["key"], place["secret"]), Layout(datamap.objects))


class S3Eraser:
    """See `lifecycle.systems.base.Eraser`. Item keys are JSON: [object key, version id or upload id]."""

    name = "s3"
    method = (
        "Amazon S3 API (2006-03-01): DeleteObjects by version id, delete markers included, AbortMultipartUpload; "
        "governance retention is not bypassed"
    )
    batch = 4_000
    clean_passes = 2

    def __init__(self, wire: Wire, layout: Layout) -> None:
        self._wire = wire
        self._layout = layout
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        self._asking = threading.Lock()
        self._seen: set[int] | None = None
        self._size, self._took = MOST_KEYS, 0.0

    def discover(self, scope: Scope, cursor: Any) -> Page[Item]:
        """One page. The cursor names a view of `_views` and where in it to go on."""
        state = dict(cursor or {"view": 0, "after": None, "count": 0})
        if cursor is None:
            self._seen = set()
        views = self._views(scope)
        mark, spares = self._marker(scope), self._layout.spares(scope)
        found: list[Item] = []
        ends = time.monotonic() + SECONDS
        while state["view"] < len(views) and len(found) < PAGE and time.monotonic() < ends:
            name, root, size = views[state["view"]]
            if size and (self._seen is None or state["count"] > FEW):
                state |= {"view": state["view"] + 1, "after": None}
                continue
            entries, after = self._read(name, root, size, scope, state["after"])
            for entry in entries:
                if any(spare.matches(entry.key) for spare in spares) or self._known(entry, first=not size):
                    continue
                found.append(mark(entry))
            state["count"] += len(entries)
            state |= {"after": after} if after is not None else {"view": state["view"] + 1, "after": None}
        return Page(found, state if state["view"] < len(views) else None)

    def erase(self, scope: Scope, items: Sequence[Item], gate: Gate) -> Tally:
        """Deletes exactly these versions, markers and uploads; several requests side by side, each with an end."""
        size = self._size
        sends = deleting.sends(items, size)
        over = threading.Event()
        outcomes = list(self._pool.map(lambda send: self._carry_out(send, gate, over), sends))
        full = [each.seconds for each in outcomes if each.complete and each.taken == size]
        self._learn(full, size, late=gate.remaining() <= 0)
        for outcome in outcomes:
            if outcome.error is not None:
                # An unknown outcome must end the batch as an error: the request may still be carried out.
                raise outcome.error
        tally = Tally()
        for outcome in outcomes:
            tally.taken += outcome.taken
            tally.erased += outcome.erased
            tally.locked += outcome.locked
            if not outcome.complete:
                break
        if not tally.taken and items:
            if any(outcome.busy for outcome in outcomes):
                raise Transient("The object storage could not delete some versions; try again.")
            raise BatchOver
        return tally

    def finish(self, scope: Scope, gate: Gate) -> Tally:
        """Nothing closes an erasure here: a deleted version is gone for every request."""
        return Tally()

    def shapes(self, scope: Scope) -> Sequence[str]:
        """The shapes this bucket can hold; none where all of the subject's objects are kept."""
        root = self._canary_root(scope)
        return canaries.shapes(self._wire) if root is not None else ()

    def plant(self, scope: Scope, shape: str, marker: str) -> Planted:
        """Plants one canary below the subject's first prefix."""
        root = self._canary_root(scope)
        if root is None:
            raise ValueError("All objects of this subject are kept: there is nowhere to plant a canary.")
        return canaries.plant(self._wire, f"{root.prefix}canary-{marker}", shape, marker)

    def lift(self, planted: Planted) -> None:
        """Removes every version and upload of a canary."""
        canaries.lift(self._wire, planted)

    def anchors(self, scope: Scope) -> Mapping[str, tuple[str, ...]]:
        """Objects lead to nothing elsewhere."""
        return {}

    def identify(self, scope: Scope) -> Subject:
        """Objects know no mail and no name."""
        return scope.subject

    def close(self) -> None:
        """Ends the threads and closes the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._wire.close()

    def _views(self, scope: Scope) -> list[tuple[str, Root | None, int]]:
        """(view, root, page size); a size of 0 marks the first view of a pass."""
        roots = self._layout.roots(scope)
        first: list[tuple[str, Root | None, int]] = [("versions", root, 0) for root in roots]
        first += [("uploads", root, 0) for root in roots]
        first.append(("keys", None, 0))
        return first + [(name, root, size) for root in roots for name, size in VIEWS]

    def _read(
        self, name: str, root: Root | None, size: int, scope: Scope, after: Any
    ) -> tuple[list[Listed], Any]:
        if root is None:
            return self._read_keys(scope, after or 0)
        page = getattr(listing, name)(self._wire, root.prefix, after, size or FIRST)
        entries = [entry for entry in page.entries if root.matches(entry.key)]
        if name == "current":
            hidden = [entry.key for entry in entries if not self._known(entry, first=False)]
            return list(self._of_keys(hidden)), page.more
        return entries, page.more

    def _read_keys(self, scope: Scope, start: int) -> tuple[list[Listed], int | None]:
        """Objects that rows of the subject point to, wherever they lie."""
        roots = self._layout.roots(scope)
        keys = [k for k in scope.anchors.get("s3_keys", ()) if not any(root.matches(k) for root in roots)]
        end = start + 256
        return list(self._of_keys(keys[start:end])), end if end < len(keys) else None

    def _of_keys(self, keys: Iterable[str]) -> Iterator[Listed]:
        for found in self._pool.map(lambda key: list(listing.of_key(self._wire, key)), keys):
            yield from found

    def _known(self, entry: Listed, *, first: bool) -> bool:
        """Whether another view of this pass showed the entry; what the first view shows is noted by key and mark."""
        if self._seen is None:
            return False
        whole = hash((entry.key, entry.mark))
        if whole in self._seen or (entry.kind == "object" and hash(entry.key) in self._seen):
            return not first
        if entry.kind != "object" and len(self._seen) < 4 * FEW:
            self._seen |= {whole, hash(entry.key)}
        return False

    def _marker(self, scope: Scope) -> Callable[[Listed], Item]:
        category_of = self._layout.categoriser(scope)

        def item(entry: Listed) -> Item:
            category = category_of(entry.key)
            action = Action.RETAIN if is_kept(scope, category, entry.dated) else Action.ERASE
            return Item(entry.kind, item_key(entry.key, entry.mark), category, action, entry.size)

        return item

    def _canary_root(self, scope: Scope) -> Root | None:
        kept = set(scope.retained) | scope.held_categories
        for root in self._layout.roots(scope):
            if root.category not in kept and root.matches(f"{root.prefix}canary-x"):
                return root
        return None

    def _learn(self, took: list[float], size: int, *, late: bool) -> None:
        """Makes the next requests half as large when these came to no end in time, twice as large when they did."""
        if took:
            self._took = sum(took) / len(took)
        if late:
            self._size = max(1, size // 2)
        elif took:
            self._size = min(MOST_KEYS, size * 2)

    def _carry_out(self, send: deleting.Send, gate: Gate, over: threading.Event) -> deleting.Outcome:
        if over.is_set():
            return deleting.Outcome()
        try:
            with self._asking:  # the gate speaks over one database connection
                gate.check()
            if gate.remaining() < min(2.0, 1.5 * self._took):
                raise BatchOver  # it would outlast the batch, and nobody could tell what became of it
            started = time.monotonic()
            outcome = deleting.carry_out(self._wire, send, gate)
            outcome.seconds = time.monotonic() - started
            return outcome
        except BatchOver:
            over.set()
            return deleting.Outcome()
        except Exception as error:
            over.set()
            return deleting.Outcome(error=error)
