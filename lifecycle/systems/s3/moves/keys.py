"""One object key on both sides: every version in its order, and how the follower is brought level with the owner."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lifecycle.systems.base import Transient
from lifecycle.systems.s3.kinds import MARKER
from lifecycle.systems.s3.listing import Listed, versions
from lifecycle.systems.s3.moves import large
from lifecycle.systems.s3.moves.client import Client, Listings, names_of

_REMEMBERED = 100_000
_LOOKS = 3
_PAGE = 100  # versions of one key asked for at once


@dataclass(frozen=True, slots=True)
class Version:
    """One version or delete marker of a key."""

    id: str
    marker: bool
    size: int
    dated: str
    etag: str = ""


History = tuple[Version, ...]  # oldest first


class Side:
    """One region's bucket: exact listings, contents, and digests of versions, which never change."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self.place = place
        self.client = Client(place)
        self.wire = Listings(self.client, place)

    def history(self, key: str) -> History:
        """Every version and marker of exactly one key."""
        found: list[Listed] = []
        after: dict[str, str] | None = None
        while True:
            page = versions(self.wire, key, after, _PAGE)
            found += [entry for entry in page.entries if entry.key == key]
            after = page.more
            # Keys that merely begin with this one come behind it.
            if after is None or (page.entries and page.entries[-1].key > key):
                return history(found)

    def print_of(self, key: str, version: Version) -> str:
        """What a version is, from its bytes: sha256 of content, and of what describes it. "" where it is gone."""
        if version.marker:
            return "marker"
        known = _PRINTS.get(self._slot(key, version)) if version.id != "null" else None
        if known is None:
            known = self.look(key, version)
            if known:
                self.remember(key, version, known)
        return known

    def close(self) -> None:
        """Closes every connection."""
        self.client.close()
        self.wire.close()

    def look(self, key: str, version: Version) -> str:
        """What a version is, read now."""
        if version.size >= large.LARGE:
            head = self.client.head(key, version.id)
            return fingerprint(large.digest(self.place, key, version.id), head) if head is not None else ""
        content = self.client.read(key, version.id)
        if content is None:
            return ""
        tags = self.client.tags(key, version.id) if content.tagged else ""
        return fingerprint(content.sha256, content.headers, tags)

    def remember(self, key: str, version: Version, found: str) -> None:
        """Keeps a print that was just seen."""
        if version.id and version.id != "null":
            _PRINTS.put(self._slot(key, version), found)

    def _slot(self, key: str, version: Version) -> _Slot:
        return str(self.place["endpoint"]), self.client.bucket, key, version.id, version.etag


_Slot = tuple[str, str, str, str, str]


class _Prints:
    """The newest prints seen in this process. A version whose ETag is another one than before is not known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Slot, str] = OrderedDict()

    def get(self, slot: _Slot) -> str | None:
        with self._lock:
            return self._kept.get(slot)

    def put(self, slot: _Slot, found: str) -> None:
        with self._lock:
            self._kept[slot] = found
            while len(self._kept) > _REMEMBERED:
                self._kept.popitem(last=False)


_PRINTS = _Prints()


def history(entries: Iterable[Listed]) -> History:
    """Entries of one key, newest first as listings give them, as its history."""
    found = [Version(each.mark, each.kind == MARKER, each.size, each.dated, each.etag) for each in entries]
    return tuple(reversed(found))


def live(versions: History) -> bool:
    """Whether a reader of the key gets an object."""
    return bool(versions) and not versions[-1].marker


def fingerprint(sha256: str, headers: Mapping[str, str], tags: str = "") -> str:
    """One text for content and description of a version. Storage class and locks are the place's, not the object's."""
    kept = sorted((name, headers[name]) for name in names_of(headers))
    described = hashlib.sha256(repr((kept, tags)).encode()).hexdigest()[:16]
    return f"{sha256}/{described}"


class Pair:
    """Source and target of one move."""

    def __init__(self, source: Side, target: Side) -> None:
        self.source, self.target = source, target
        self._kept: set[Hashable] = set()  # forms of descriptions that the target was seen to keep

    def agree(self, key: str, mine: History, theirs: History) -> int:
        """How many versions from the first on are the same on both sides, by content."""
        same = 0
        for one, other in zip(mine, theirs, strict=False):
            if (one.marker, one.size) != (other.marker, other.size):
                break
            if self.source.print_of(key, one) != self.target.print_of(key, other):
                break
            same += 1
        return same

    def append(self, key: str, missing: Sequence[Version]) -> int:
        """Copies versions of the source, in their order, as the target's newest; returns bytes. Each is proven."""
        return sum(self._one(key, version) for version in missing)

    def level(self, key: str) -> int:
        """Brings the target's history of a key level with the source's; what only the target has goes, last.

        A reader of the target sees the newest content as soon as it is there. Returns bytes copied.
        """
        mine, theirs = self.source.history(key), self.target.history(key)
        same = self.agree(key, mine, theirs)
        moved = self.append(key, mine[same:])
        for version in theirs[same:]:
            self.target.client.remove(key, version.id)
        return moved

    def follow(self, key: str, *, known: bool = True) -> tuple[int, str]:
        """Appends what the target lacks of a key's history and removes nothing. `known` False: the target has none.

        Returns bytes copied, and the sha256 of what readers of the target then get ("" for nothing).
        """
        mine = self.source.history(key)
        theirs = self.target.history(key) if known else ()
        same = self.agree(key, mine, theirs)
        missing = mine[same:]
        if not missing and mine and len(theirs) > same:
            missing = mine[-1:]  # something else lies on top
        moved = self.append(key, missing)
        return moved, self.source.print_of(key, mine[-1]).partition("/")[0] if live(mine) else ""

    def _one(self, key: str, version: Version) -> int:
        if version.marker:
            self.target.client.mark_deleted(key)
            return 0
        if version.size >= large.LARGE:
            return self._large(key, version)
        content = self.source.client.read(key, version.id)
        if content is None:
            return 0  # deleted for good meanwhile
        tags = self.source.client.tags(key, version.id) if content.tagged else ""
        wanted = fingerprint(content.sha256, content.headers, tags)
        self.source.remember(key, version, wanted)
        for _ in range(_LOOKS):
            made = self.target.client.write(key, content, tags)
            stored = Version(made.id, False, version.size, "", made.etag)
            form = _form(content.headers, tags)
            if (made.proven and form in self._kept) or self.target.look(key, stored) == wanted:
                self._kept |= {form} - {None}
                self.target.remember(key, stored, wanted)
                return len(content.body)
            if made.id and made.id != "null":
                self.target.client.remove(key, made.id)
        raise Transient("An object read back from the target was not what was written; try again.")

    def _large(self, key: str, version: Version) -> int:
        headers = self.source.client.head(key, version.id)
        if headers is None:
            return 0
        tags = self.source.client.tags(key, version.id) if "x-amz-tagging-count" in headers else ""
        sha256 = large.transfer(self.source.place, self.target.place, key, version.id, headers)
        newest = self.target.history(key)[-1]
        if large.digest(self.target.place, key, newest.id) != sha256:
            self.target.client.remove(key, newest.id)
            raise Transient("A large object read back from the target was not what was written; try again.")
        if tags:
            self.target.client.put_tags(key, newest.id, tags)
        self.target.client.put_locks(key, newest.id, headers)
        return version.size


def _form(headers: Mapping[str, str], tags: str) -> Hashable:
    """What descriptions that a server keeps alike have in common; None for one that is looked at for itself."""
    described = {name: headers[name] for name in names_of(headers)}
    if tags or not all(value.isascii() and value == " ".join(value.split()) for value in described.values()):
        return None
    return frozenset((name, "" if name.startswith("x-amz-meta-") else described[name]) for name in described)
