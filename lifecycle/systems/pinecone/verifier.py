"""Looks again at what an erasure left in Pinecone: every manifest id by fetch, every namespace by listing and filter."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Entry, Hit, Item, Page, Scope, content_hash, key_hash
from lifecycle.systems.items import Items
from lifecycle.systems.needles import CANARY, ID, Found, Needles
from lifecycle.systems.pinecone.kinds import VECTOR, vector_key, vector_keys, vector_parts
from lifecycle.systems.pinecone.layout import Layout
from lifecycle.systems.pinecone.reading import IndexGone, Reader, Record

SECONDS, MOST_HITS, LIST_PAGES = 8.0, 4_000, 20
# Deletions show late. The eraser has waited for them; this is for the verifier's own replica.
SETTLE = 5.0
MANY = 300_000
# Fields in which platforms keep a person's mail or name.
PERSONAL = ("email", "mail", "user_email", "owner", "owner_email", "author", "name", "full_name", "user")


def connect(place: Mapping[str, str], datamap: DataMap) -> PineconeVerifier:
    """The verifier of the project at `place` (control_host, index_host, index, reader_key or key)."""
    return PineconeVerifier(Reader(place), Layout(datamap.vectors))


class PineconeVerifier:
    """See `lifecycle.systems.base.Verifier`."""

    name = "pinecone"
    method = (
        "Plain HTTP: every id of the manifest by fetch; ids and metadata of every vector in the tenant's namespaces; in "
        "all others every id, and metadata by filter (tenant and user, mails, names, canaries). What the provider keeps "
        "for up to 90 days is out of reach"
    )

    def __init__(self, reader: Reader, layout: Layout) -> None:
        self._reader = reader
        self._layout = layout

    def remaining(self, scope: Scope, items: Sequence[Item]) -> list[Item]:
        """Which vectors a fetch still finds, once late deletions have had five seconds to show."""
        runs = [run for run in Items.of(items).runs if run.kind == VECTOR]
        self._reader.indexes()
        ends = time.monotonic() + SETTLE
        left = self._still_there([key for run in runs for key in run.keys])
        while left and time.monotonic() < ends:
            time.sleep(0.1)
            left = self._still_there(left)
        still = set(left)
        return [item for run in runs for item in run if item.key in still] if still else []

    def search(self, scope: Scope, cursor: Any) -> Page[Hit]:
        """First the tenant's own namespaces, vector by vector, then all others."""
        sweep = _Sweep(scope, self._layout)
        state = cursor or {
            "indexes": self._reader.indexes(),
            "names": sweep.own,
            "own": True,
            "page": None,
            "token": None,
        }
        hits: list[Hit] = []
        ends = time.monotonic() + SECONDS
        while state["indexes"] and time.monotonic() < ends and len(hits) < MOST_HITS:
            try:
                found, state = self._step(sweep, state)
            except IndexGone:
                found, state = [], _next_index(state, sweep)
            hits += found
        return Page(hits, state if state["indexes"] else None)

    def bystanders(self, scope: Scope) -> Iterator[Entry]:
        """Vector by vector in the tenant's own namespaces, namespace by namespace elsewhere."""
        sweep = _Sweep(scope, self._layout)
        for index in self._reader.indexes():
            for namespace in list(self._reader.all_namespaces(index)):
                if namespace not in sweep.own:
                    yield from self._summed(index, namespace, sweep)
                elif scope.subject.user is not None or scope.spared_users:
                    yield from _bounded(self._others(index, namespace, sweep))

    def close(self) -> None:
        """Ends the threads and closes the connections."""
        self._reader.close()

    def _still_there(self, keys: Iterable[str]) -> list[str]:
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for index, namespace, vector_id in vector_parts(keys):
            groups[index, namespace].append(vector_id)
        left = []
        for (index, namespace), ids in groups.items():
            try:
                there = self._reader.fetch(index, namespace, ids)
            except IndexGone:
                continue
            left += vector_keys(index, namespace, [each for each in ids if each in there])
        return left

    def _step(self, sweep: _Sweep, state: dict[str, Any]) -> tuple[list[Hit], dict[str, Any]]:
        index = state["indexes"][0]
        if not state["names"]:
            if not state["own"] and state["page"] is None:
                return [], _next_index(state, sweep)
            names, page = self._reader.namespaces(index, state["page"])
            others = [name for name in names if name not in sweep.own]
            following = {**state, "names": others, "own": False, "page": page, "token": None}
            return [], following if others or page else _next_index(state, sweep)
        namespace = state["names"][0]
        if state["own"]:
            ids, token = self._reader.list_page(index, namespace, state["token"])
            records = self._reader.fetch(index, namespace, ids)
            hits = [
                hit for each, record in records.items() for hit in sweep.judge(index, namespace, each, record)
            ]
        else:
            hits = self._filtered(index, namespace, sweep) if state["token"] is None else []
            more, token = (
                self._listed(index, namespace, sweep, state["token"])
                if sweep.reads_ids(namespace)
                else ([], None)
            )
            hits += more
        if token:
            return hits, {**state, "token": token}
        return hits, {**state, "names": state["names"][1:], "token": None}

    def _filtered(self, index: str, namespace: str, sweep: _Sweep) -> list[Hit]:
        found: dict[str, Record] = {}
        for condition in sweep.conditions():
            found |= self._reader.by_metadata(index, namespace, condition)
        return [hit for each, record in found.items() for hit in sweep.judge(index, namespace, each, record)]

    def _listed(
        self, index: str, namespace: str, sweep: _Sweep, token: str | None
    ) -> tuple[list[Hit], str | None]:
        hits: list[Hit] = []
        for _ in range(LIST_PAGES):
            ids, token = self._reader.list_page(index, namespace, token)
            for each in ids:
                hits += sweep.judge_id(index, namespace, each)
            if not token:
                break
        return hits, token

    def _others(self, index: str, namespace: str, sweep: _Sweep) -> Iterator[Entry]:
        tenant = sweep.scope.subject.tenant
        for ids in self._reader.all_ids(index, namespace):
            for each, record in self._reader.fetch(index, namespace, ids).items():
                if sweep.owns(namespace, each, record):
                    continue
                user = self._layout.user_of(record.get("metadata") or {})
                owner = f"{tenant}/{user}" if user else tenant
                yield Entry(owner, key_hash(VECTOR, vector_key(index, namespace, each)), _content(record))

    def _summed(self, index: str, namespace: str, sweep: _Sweep) -> Iterator[Entry]:
        """One entry for a namespace: how many ids, and which. The subject's strays there are left out."""
        strays = {
            each
            for condition in sweep.conditions()
            for each, record in self._reader.by_metadata(index, namespace, condition).items()
            if sweep.owns(namespace, each, record)
        }
        count = total = 0
        for ids in self._reader.all_ids(index, namespace):
            for each in ids:
                if each not in strays and not sweep.owns_id(namespace, each):
                    count += 1
                    total ^= int.from_bytes(key_hash(VECTOR, each), "big")
        if count:
            key = key_hash("namespace", json.dumps([index, namespace]))
            yield Entry(self._layout.owner(namespace), key, content_hash(f"{count} {total}".encode()))


class _Sweep:
    """Decides for each vector whether it is the subject's own, and whether it names the subject."""

    def __init__(self, scope: Scope, layout: Layout) -> None:
        self.scope = scope
        self.own = layout.own(scope.subject.tenant)
        self._layout = layout
        self._shared = layout.shared()
        self._near, self._far = Needles.of(scope), Needles.of(scope, foreign=True)
        self._prefixes = {layout.document_prefix(d): d for d in scope.anchors.get("documents", ())}
        self._kept = layout.category in set(scope.retained) | scope.held_categories

    def conditions(self) -> Iterator[dict[str, Any]]:
        """Metadata filters that find the subject, its canaries, its mails and names in anybody's namespace."""
        yield self._layout.filter(self.scope)
        if self.scope.canaries:
            yield {"canary": {"$in": list(self.scope.canaries)}}
        named = [*self.scope.subject.mails, *self.scope.subject.names]
        if named:
            yield {"$or": [{name: {"$in": named}} for name in PERSONAL]}

    def owns(self, namespace: str, vector_id: str, record: Record) -> bool:
        """Whether a vector is the subject's: by its place, its metadata, its document, or a canary in it."""
        metadata = record.get("metadata") or {}
        subject, inside = self.scope.subject, namespace in self.own
        if self._has_canary(vector_id, metadata):
            return True
        if any(self._layout.of_user(metadata, user) for user in self.scope.spared_users):
            return False
        if subject.user is None:
            if inside:
                known = not self.scope.spared_users or self._layout.user_of(metadata) != ""
                return known or self._of_document(vector_id, metadata)
            return self._layout.of_tenant(metadata, subject.tenant, inside=False)
        by_metadata = self._layout.of_user(metadata, subject.user)
        if by_metadata and self._layout.of_tenant(metadata, subject.tenant, inside=inside):
            return True
        return (inside or namespace in self._shared) and self._of_document(vector_id, metadata)

    def owns_id(self, namespace: str, vector_id: str) -> bool:
        """Whether an id alone shows that a vector is the subject's."""
        return self._has_canary(vector_id, {}) or (
            namespace in self._shared and self._of_document(vector_id, None)
        )

    def reads_ids(self, namespace: str) -> bool:
        """Whether ids in somebody else's namespace can tell anything."""
        return bool(self._far) or namespace in self._shared

    def judge(self, index: str, namespace: str, vector_id: str, record: Record) -> Iterator[Hit]:
        """The hit of one vector, if it is one."""
        metadata = dict(record.get("metadata") or {})
        if self.owns(namespace, vector_id, record):
            if not self._kept:
                needle = CANARY if self._has_canary(vector_id, metadata) else ID
                yield self._hit(index, namespace, vector_id, needle, True, vector_id)
            return
        other = self._layout.user_of(metadata)
        for field in (self._layout.tenant_field, self._layout.user_field):
            metadata.pop(field, None)  # they say whose the vector is, and it is not the subject's
        text = f"{vector_id} {json.dumps(metadata, ensure_ascii=False)}"
        needles = self._near if namespace in self.own else self._far
        if found := _first(needles, text, other, self.scope.subject.user):
            yield self._hit(index, namespace, vector_id, found.kind, False, needles.excerpt(text, found))

    def judge_id(self, index: str, namespace: str, vector_id: str) -> Iterator[Hit]:
        """The hit of an id in somebody else's namespace, if it is one."""
        if self.owns_id(namespace, vector_id):
            if not self._kept:
                yield self._hit(index, namespace, vector_id, ID, True, vector_id)
        elif found := self._far.find(vector_id):
            yield self._hit(index, namespace, vector_id, found.kind, False, vector_id)

    def _has_canary(self, vector_id: str, metadata: Mapping[str, Any]) -> bool:
        marked = metadata.get("canary")
        return any(marker == marked or marker in vector_id for marker in self.scope.canaries)

    def _of_document(self, vector_id: str, metadata: Mapping[str, Any] | None) -> bool:
        for prefix, document in self._prefixes_of(vector_id):
            if self._layout.is_plain(vector_id, document):
                return True
            named = (metadata or {}).get(self._layout.document_field)
            if named == document and vector_id.startswith(prefix):
                return True
        return False

    def _prefixes_of(self, vector_id: str) -> Iterator[tuple[str, str]]:
        """Documents of the subject whose prefix begins this id: each place where the separator ends is tried."""
        separator = self._layout.separator
        if not separator:
            yield from ((p, d) for p, d in self._prefixes.items() if vector_id.startswith(p))
            return
        at = vector_id.find(separator)
        while at >= 0:
            prefix = vector_id[: at + len(separator)]
            if prefix in self._prefixes:
                yield prefix, self._prefixes[prefix]
            at = vector_id.find(separator, at + 1)

    def _hit(
        self, index: str, namespace: str, vector_id: str, needle: str, belongs: bool, excerpt: str
    ) -> Hit:
        place = f"index {index}, namespace {namespace}"
        return Hit(VECTOR, vector_key(index, namespace, vector_id), place, needle, belongs, excerpt[:300])


def _first(needles: Needles, text: str, other: str, user: str | None) -> Found | None:
    """The first match. In data of a person whose id differs from the subject's by case alone, an id is that person's."""
    alike = user is not None and other != user and other.lower() == user.lower()
    return next((found for found in needles.find_all(text) if not (alike and found.kind == ID)), None)


def _next_index(state: dict[str, Any], sweep: _Sweep) -> dict[str, Any]:
    return {"indexes": state["indexes"][1:], "names": sweep.own, "own": True, "page": None, "token": None}


def _content(record: Record) -> bytes:
    shown = [record.get("values"), record.get("sparseValues"), record.get("metadata")]
    return content_hash(json.dumps(shown, sort_keys=True).encode())


def _bounded(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The entries one by one; above 300,000, one an owner."""
    first: list[Entry] = []
    for entry in entries:
        first.append(entry)
        if len(first) > MANY:
            break
    else:
        yield from first
        return
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for part in (first, entries):
        for entry in part:
            counts[entry.owner][0] += 1
            counts[entry.owner][1] ^= int.from_bytes(content_hash(entry.key + entry.content), "big")
    for owner, (count, total) in counts.items():
        yield Entry(owner, key_hash("owner", owner), content_hash(f"{count} {total}".encode()))
