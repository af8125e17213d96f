"""Looks again at what an erasure left in a bucket: reader's credentials, other listings, every object's name and text."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Entry, Hit, Item, Page, Scope, content_hash, key_hash
from lifecycle.systems.needles import CANARY, ID, Found, Needles
from lifecycle.systems.s3.inventory import Inventory, Seen
from lifecycle.systems.s3.kinds import UPLOAD, VERSION, item_key, split
from lifecycle.systems.s3.layout import CLEANED_LOGS, OURS, Layout, Root, is_kept

THREADS = 8
FLAT, FOLDER, SWEEP, AGAIN, CONTENTS = 700, 450, 900, 391, 200
SECONDS, MOST_HITS = 8.0, 4_000
TEXT_BYTES = 1 << 20
# Asked for one by one, besides the listings that cover the whole manifest.
SINGLE = 256
FEW = 20_000
MANY = 300_000


def connect(place: Mapping[str, str], datamap: DataMap) -> S3Verifier:
    """The verifier of the bucket at `place` (endpoint, bucket, reader_key, reader_secret)."""
    return S3Verifier(Inventory(place, THREADS), Layout(datamap.objects))


class S3Verifier:
    """See `lifecycle.systems.base.Verifier`."""

    name = "s3"
    method = (
        "Read-only credentials: the whole manifest against two listings in different order and page size, single "
        "versions by request; a sweep of every key and unfinished upload of the bucket, and of contents up to 1 MiB, "
        "metadata and tags of what remains of the tenant"
    )

    def __init__(self, inventory: Inventory, layout: Layout) -> None:
        self._inventory = inventory
        self._layout = layout
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="s3-verify")
        self._swept: set[int] = set()

    def remaining(self, scope: Scope, items: Sequence[Item]) -> list[Item]:
        """Which items a listing still shows or a request still finds."""
        wanted = {(item.kind == UPLOAD, *split(item.key)): item for item in items}
        roots = self._layout.roots(scope)
        left: set[tuple[bool, str, str]] = set()
        for root in roots:
            left |= {name for name in self._names_below(root) if name in wanted}
        outside = {key for _, key, _ in wanted if not any(root.matches(key) for root in roots)}
        for names in self._pool.map(self._names_of_key, sorted(outside)):
            left |= {name for name in names if name in wanted}
        single = [name for name in wanted if name not in left and not name[0]]
        step = max(1, len(single) // SINGLE)
        asked = single[::step][:SINGLE]
        there = self._pool.map(lambda name: self._inventory.exists(name[1], name[2]), asked)
        left |= {name for name, found in zip(asked, there, strict=True) if found}
        return [item for name, item in wanted.items() if name in left]

    def search(self, scope: Scope, cursor: Any) -> Page[Hit]:
        """Sweeps names of versions (twice with other page edges where they are few), of uploads, then what the tenant's remaining objects say."""
        state = dict(cursor or {"phase": "names", "after": None, "count": 0})
        if cursor is None:
            self._swept = set()
        sweep = _Sweep(scope, self._layout, self._inventory.bucket)
        hits: list[Hit] = []
        ends = time.monotonic() + SECONDS
        while state["phase"] and time.monotonic() < ends and len(hits) < MOST_HITS:
            if state["phase"] == "names":
                page = self._inventory.versions("", SWEEP, state["after"])
                hits += sweep.names(page.entries)
                state["count"] += len(page.entries)
                if state["count"] <= FEW:
                    self._swept |= {hash((entry.key, entry.mark)) for entry in page.entries}
                state = _next(state, page.after, "again" if state["count"] <= FEW else "uploads")
            elif state["phase"] == "again":
                page = self._inventory.versions("", AGAIN, state["after"])
                hits += sweep.names(e for e in page.entries if hash((e.key, e.mark)) not in self._swept)
                state = _next(state, page.after, "uploads")
            elif state["phase"] == "uploads":
                page = self._inventory.uploads("", SWEEP, state["after"])
                hits += sweep.names(page.entries)
                state = _next(state, page.after, "contents")
            else:
                page = self._inventory.versions(sweep.tenant_prefix, CONTENTS, state["after"])
                hits += self._contents(sweep, page.entries)
                state = _next(state, page.after, "")
        return Page(hits, state if state["phase"] else None)

    def bystanders(self, scope: Scope) -> Iterator[Entry]:
        """One entry a version, marker and upload; above 300,000 in all, one an owner."""
        others = self._others(scope)
        first = list(islice(others, MANY + 1))
        if len(first) <= MANY:
            yield from first
            return
        counts: dict[str, int] = defaultdict(int)
        sums: dict[str, int] = defaultdict(int)
        for part in (first, others):
            for entry in part:
                counts[entry.owner] += 1
                sums[entry.owner] ^= int.from_bytes(content_hash(entry.key + entry.content), "big")
        for owner in counts:
            yield Entry(
                owner, key_hash("owner", owner), content_hash(f"{counts[owner]} {sums[owner]}".encode())
            )

    def close(self) -> None:
        """Ends the threads and closes the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._inventory.close()

    def _names_below(self, root: Root) -> Iterator[tuple[bool, str, str]]:
        count = 0
        for entry in self._inventory.all_versions(root.prefix, FLAT):
            count += 1
            yield (False, entry.key, entry.mark)
        for entry in self._inventory.all_uploads(root.prefix, FLAT):
            yield (True, entry.key, entry.mark)
        if count <= FEW:  # a second look costs little, and shows what the first left out
            for entry in self._inventory.walk(root.prefix, FOLDER):
                yield (False, entry.key, entry.mark)

    def _names_of_key(self, key: str) -> list[tuple[bool, str, str]]:
        """What stands under exactly one key: every page, since servers differ in where they list it among longer ones."""
        found = chain(self._inventory.all_versions(key, FLAT), self._inventory.all_uploads(key, FLAT))
        return [(entry.kind == UPLOAD, entry.key, entry.mark) for entry in found if entry.key == key]

    def _contents(self, sweep: _Sweep, entries: Iterable[Seen]) -> list[Hit]:
        open_to_view = [
            entry for entry in entries if entry.kind == VERSION and not sweep.is_subjects(entry.key)
        ]
        texts = self._pool.map(lambda entry: self._inventory.texts(entry, TEXT_BYTES), open_to_view)
        hits: list[Hit] = []
        for entry, parts in zip(open_to_view, texts, strict=True):
            hits += sweep.texts(entry, parts)
        return hits

    def _others(self, scope: Scope) -> Iterator[Entry]:
        sweep = _Sweep(scope, self._layout, self._inventory.bucket)
        roots, spares = self._layout.roots(scope), self._layout.spares(scope)
        for entry in self._apart("", roots):
            if not sweep.is_subjects(entry.key):
                yield self._entry(entry)
        for spare in spares:  # held users lie inside what was left out
            for entry in self._inventory.all_versions(spare.prefix, FLAT):
                if spare.matches(entry.key):
                    yield self._entry(entry)
        for entry in self._inventory.all_uploads("", SWEEP):
            if not sweep.is_subjects(entry.key):
                yield self._entry(entry)

    def _apart(self, prefix: str, roots: Sequence[Root]) -> Iterator[Seen]:
        """Everything but the subject's folders. Each listing begins at a folder that the erasure leaves alone, so that
        a server which drops entries at page edges drops the same ones before and after."""
        page = self._inventory.folder(prefix, FOLDER)
        yield from page.entries
        for folder in page.folders:
            if folder in OURS or any(root.whole and folder.startswith(root.prefix) for root in roots):
                continue
            if any(root.prefix.startswith(folder) for root in roots):
                yield from self._apart(folder, roots)
            else:
                yield from self._inventory.all_versions(folder, FLAT)

    def _entry(self, seen: Seen) -> Entry:
        tenant, user = self._layout.owner(seen.key)
        owner = f"{tenant}/{user}" if user else tenant
        content = content_hash(f"{seen.etag} {seen.size} {seen.modified}".encode())
        return Entry(owner, key_hash(seen.kind, item_key(seen.key, seen.mark)), content)


class _Sweep:
    """Decides for each name and text whether it names the subject, and whether it is the subject's own."""

    def __init__(self, scope: Scope, layout: Layout, bucket: str) -> None:
        self._scope = scope
        self._layout = layout
        self._place = f"bucket {bucket}"
        self._roots = layout.roots(scope)
        self._spares = layout.spares(scope)
        self._pointed = set(scope.anchors.get("s3_keys", ()))
        self._category = layout.categoriser(scope)
        self._near, self._far = Needles.of(scope), Needles.of(scope, foreign=True)
        self.tenant_prefix = layout.tenant_root(scope).prefix

    def is_subjects(self, key: str) -> bool:
        """Whether a key is the subject's by its place, or because a row of the subject points to it."""
        if any(spare.matches(key) for spare in self._spares):
            return False
        return key in self._pointed or any(root.matches(key) for root in self._roots)

    def names(self, entries: Iterable[Seen]) -> Iterator[Hit]:
        """Hits among the names of keys."""
        for entry in entries:
            if entry.key.startswith(CLEANED_LOGS):
                continue
            if self.is_subjects(entry.key):
                if not is_kept(self._scope, self._category(entry.key), entry.modified):
                    yield self._hit(entry, ID, True, entry.key)
                continue
            needles = self._needles(entry.key)
            text = self._layout.beyond_owner(entry.key)
            if found := self._first(needles, entry.key, text):
                yield self._hit(entry, found.kind, found.kind == CANARY, needles.excerpt(text, found))
            elif any(f"/{root.prefix}" in entry.key for root in self._roots):
                yield self._hit(entry, ID, False, entry.key)

    def texts(self, entry: Seen, parts: Mapping[str, bytes]) -> Iterator[Hit]:
        """Hits among what one object says."""
        needles = self._needles(entry.key)
        for part, text in parts.items():
            if text and (found := self._first(needles, entry.key, text)):
                excerpt = needles.excerpt(text, found)
                yield self._hit(entry, found.kind, found.kind == CANARY, excerpt, f", {part}")

    def _first(self, needles: Needles, key: str, text: str | bytes) -> Found | None:
        """The first match. Where the owner's id differs from the subject's by case alone, an id is the owner's."""
        _, owner = self._layout.owner(key)
        user = self._scope.subject.user
        alike = user is not None and owner != user and owner.lower() == user.lower()
        return next((found for found in needles.find_all(text) if not (alike and found.kind == ID)), None)

    def _needles(self, key: str) -> Needles:
        tenant, _ = self._layout.owner(key)
        return self._near if tenant in ("", self._scope.subject.tenant) else self._far

    def _hit(self, entry: Seen, needle: str, belongs: bool, excerpt: str, part: str = "") -> Hit:
        key = item_key(entry.key, entry.mark)
        return Hit(entry.kind, key, self._place + part, needle, belongs, excerpt[:300])


def _next(state: dict[str, Any], after: dict[str, str] | None, following: str) -> dict[str, Any]:
    return {**state, "phase": state["phase"] if after else following, "after": after}
