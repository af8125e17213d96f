"""One stream, rewritten without some of its lines, in an order that loses nothing however it is interrupted.

1. read the source, put what stays into a new stream, pack what is too old to be put;
2. put the archive, read copy and archive again, compare both with the source (count and multiset);
3. read the source again: what came meanwhile is copied too, until nothing came;
4. only then delete the source, within a fenced batch.

The copy's name comes from the source's name and its creation, so a repeat after a crash finds the unfinished copy,
removes it (the source still has every line) and makes it anew.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from hashlib import blake2b

from lifecycle.systems.base import BatchOver, Gate, Transient
from lifecycle.systems.cloudwatch.archive import Archive, Packer, Version, object_key
from lifecycle.systems.cloudwatch.lines import digest
from lifecycle.systems.cloudwatch.service import Line, Service, Stream

OLDEST_MS = (
    (14 * 24 * 60 - 45) * 60 * 1000
)  # three quarters of an hour short of the 14 days after which lines are refused
MOST_TRIES = 5
PATIENCE = 60.0  # seconds that a source may go on growing after it was copied
QUIET = 1.0  # seconds in which nothing may come to a stream that was written to lately
LATELY_MS = 60_000
LEAST = 0.6  # seconds that must be left of a batch for a deletion to be sent
_CLEANED = re.compile(r"\.cleaned-[0-9a-f]{12}$")
Change = Callable[[Line], Line | None]


class Multiset:
    """Count and order-free sum of lines: two equal ones hold the same lines the same number of times."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self.count += 1
            self._sum = (self._sum + int(digest(line), 16)) % (1 << 128)

    def add_counted(self, digests: Counter[str]) -> None:
        for each, number in digests.items():
            self.count += number
            self._sum = (self._sum + int(each, 16) * number) % (1 << 128)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Multiset) and (self.count, self._sum) == (other.count, other._sum)

    __hash__ = None  # type: ignore[assignment]


class Turn:
    """Whose turn it is: the open batch, set by the caller before each step."""

    def __init__(self) -> None:
        self.gate: Gate | None = None

    def left(self) -> float:
        return self.gate.remaining() if self.gate is not None else 0.0

    def open(self) -> Gate:
        if self.gate is None or self.gate.remaining() < LEAST / 2:
            raise BatchOver("Too little is left of the batch for a deletion.")
        return self.gate


def copy_name(stream: Stream, *, named_after_subject: bool, secret: str) -> str:
    """The name of the clean copy. Of a name that holds a person's id nothing is kept, not even a plain hash."""
    mark = blake2b(
        f"{stream.name}\0{stream.created}".encode(), key=secret.encode()[:64], digest_size=6
    ).hexdigest()
    return f"cleaned/{mark}" if named_after_subject else f"{_CLEANED.sub('', stream.name)}.cleaned-{mark}"


class Rewriting:
    """The rewriting of one stream. `steps()` yields wherever it may rest; drive it while a batch is open."""

    def __init__(
        self,
        service: Service,
        archive: Archive,
        group: str,
        stream: Stream,
        copy: str,
        change: Change,
        turn: Turn,
    ) -> None:
        self._service = service
        self._archive = archive
        self._group = group
        self._stream = stream
        self._copy = copy
        self._change = change
        self._turn = turn
        self.dropped: set[str] = set()
        self.resting = False  # only time is waited for: another stream can be worked on

    def steps(self) -> Iterator[None]:
        """Runs to the deletion of the source. Raises Transient when the source never rests."""
        for _ in range(MOST_TRIES):
            yield from self._clear()
            copied = yield from self._attempt()
            if copied:
                return
        raise Transient(
            "A log stream changed in its older part each time it was copied; nothing of it was deleted."
        )

    def _clear(self) -> Iterator[None]:
        """Removes what an interrupted attempt left; the source still has all of it."""
        if any(stream.name == self._copy for stream in self._service.streams(self._group)):
            yield from self._when_open(
                lambda gate: self._service.delete_stream(self._group, self._copy, gate)
            )
        yield from self._clear_archive(keep=None)

    def _clear_archive(self, keep: Version | None) -> Iterator[None]:
        key = object_key(self._group, self._copy)
        for version in self._archive.versions(key):
            if version.key == key and (keep is None or version.version != keep.version):
                yield from self._when_open(lambda gate, old=version: self._archive.delete(old, gate))  # type: ignore[misc]

    def _when_open(self, work: Callable[[Gate], bool]) -> Iterator[None]:
        while self._turn.left() < LEAST:
            time.sleep(0.02)
            yield
        work(self._turn.open())

    def _attempt(self) -> Generator[None, None, bool]:
        """One try; its value is whether the source was deleted."""
        old_before = int(time.time() * 1000) - OLDEST_MS
        head, young, old = Multiset(), Multiset(), Multiset()
        packer, last, made = Packer(), -1, False
        tail: Counter[str] = Counter()
        for page in self._service.pages(self._group, self._stream.name):
            kept = self._keep(page)
            fresh = [line for line in kept if line.timestamp >= old_before]
            aged = [line for line in kept if line.timestamp < old_before]
            if fresh and not made:
                self._service.create(self._group, self._copy)
                made = True
            self._service.put(self._group, self._copy, fresh)
            packer.add(aged)
            young.add(fresh)
            old.add(aged)
            last = self._grow(head, tail, page, last)
            yield
        archived = (
            self._archive.write(object_key(self._group, self._copy), packer.packed()) if old.count else None
        )
        yield
        yield from self._compare(young, old, archived)
        grown: list[float] = []  # when it was seen to grow
        while not grown or time.monotonic() < grown[0] + PATIENCE:
            ingested = self._service.last_ingested(self._group, self._stream.name)
            same, more, last = yield from self._again(head, tail, last)
            if not same:
                return False
            if kept := self._keep(more):
                if not made:
                    self._service.create(self._group, self._copy)
                    made = True
                self._service.put(self._group, self._copy, kept)
                young.add(kept)
            if more:
                yield from self._compare(young, old, archived)
            elif (yield from self._delete(tail, last, ingested)):
                return True
            grown.append(time.monotonic())
        raise Transient(
            "A log stream is being written to without a pause, so that deleting it would lose lines of other people. "
            "Let its writer begin a new stream, then retry."
        )

    def _keep(self, lines: Iterable[Line]) -> list[Line]:
        kept = []
        for line in lines:
            left = self._change(line)
            if left is not line:
                self.dropped.add(digest(line))
            if left is not None:
                kept.append(left)
        return kept

    def _grow(self, head: Multiset, tail: Counter[str], page: list[Line], last: int) -> int:
        """Head: lines before the newest time read so far. Tail: the lines of that time, which may still get company."""
        for line in page:
            if line.timestamp > last:
                head.add_counted(tail)
                tail.clear()
                last = line.timestamp
            tail[digest(line)] += 1
        return last

    def _compare(self, young: Multiset, old: Multiset, archived: Version | None) -> Iterator[None]:
        copied, packed = Multiset(), Multiset()
        for page in self._service.pages(self._group, self._copy):
            copied.add(page)
            yield
        if archived is not None:
            packed.add(self._archive.lines(archived))
            yield
        if copied != young or packed != old:
            raise Transient(
                "The copy of a log stream does not equal its source less the subject's lines; the source stays."
            )

    def _again(
        self, head: Multiset, tail: Counter[str], last: int
    ) -> Generator[None, None, tuple[bool, list[Line], int]]:
        """Reads the source once more: (older part unchanged, new lines, newest time)."""
        seen, at_last, more = Multiset(), Counter(tail), []
        newest = last
        for page in self._service.pages(self._group, self._stream.name):
            for line in page:
                if line.timestamp < last:
                    seen.add([line])
                elif line.timestamp == last and at_last[digest(line)] > 0:
                    at_last[digest(line)] -= 1
                else:
                    more.append(line)
                    newest = max(newest, line.timestamp)
            yield
        same = seen == head and not at_last.total()
        if same and more:
            self._grow(head, tail, more, last)
        return same, more, newest

    def _delete(self, tail: Counter[str], last: int, ingested: int) -> Generator[None, None, bool]:
        """Deletes the source once it has rested. False: something came, go again.

        The service has no "delete unless changed": what was written to lately must first be seen to rest.
        """
        now = int(time.time() * 1000)
        rested_at = time.monotonic() + (QUIET if max(last, ingested) > now - LATELY_MS else 0.0)
        while True:
            self.resting = True
            while time.monotonic() < rested_at or self._turn.left() < LEAST:
                yield
            self.resting = False
            if self._service.last_ingested(self._group, self._stream.name) != ingested:
                return False
            end = Counter(
                digest(line)
                for page in self._service.pages(self._group, self._stream.name, start=max(last, 0))
                for line in page
                if line.timestamp >= last
            )
            if end != tail:
                return False
            if self._turn.left() >= LEAST / 2:  # else this batch is over: look again in the next one
                self._service.delete_stream(self._group, self._stream.name, self._turn.open())
                return True
            yield
