"""One log group freed of one subject: streams deleted or rewritten, then its archives."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from itertools import groupby

from lifecycle.datamap.model import Logs
from lifecycle.systems.base import Scope, Transient
from lifecycle.systems.cloudwatch.archive import Archive, Version, filtered, group_prefix
from lifecycle.systems.cloudwatch.lines import Group, LineJudge, digest
from lifecycle.systems.cloudwatch.rewriting import LEAST, Multiset, Rewriting, Turn, copy_name
from lifecycle.systems.cloudwatch.service import Line, Service, Stream
from lifecycle.systems.needles import Needles

MOST_RESTING = 50  # streams that are copied and wait together until they have rested


def goes_whole(scope: Scope, group: Group) -> bool:
    """Whether the whole group is the subject's, so that nothing in it is kept."""
    return scope.subject.user is None and group.tenant == scope.subject.tenant and not scope.spared_users


def named_after(scope: Scope, stream: str) -> bool:
    """Whether a stream's own name names the user or carries a canary."""
    needles = Needles.of(scope)
    return bool(needles) and needles.find(stream) is not None


class Cleaning:
    """Drive `steps()` while a batch is open. `chosen` maps digests of single lines to what replaces them (None: nothing)."""

    def __init__(
        self,
        place: Mapping[str, str],
        logs: Logs,
        scope: Scope,
        group: Group,
        chosen: Mapping[str, str | None],
    ) -> None:
        self._service = Service(place)
        self._archive = Archive(place)
        self._scope = scope
        self._group = group
        self._judge = LineJudge(scope, logs)
        self._chosen = chosen
        self.turn = Turn()
        self.erased = 0

    def steps(self) -> Iterator[None]:
        """Yields wherever it may rest; when it ends, the group holds nothing of the subject."""
        resting: list[tuple[Rewriting, Iterator[None]]] = []
        for stream in self._service.streams(self._group.name):
            if goes_whole(self._scope, self._group) and not self._chosen:
                yield from self._delete_stream(stream)
            elif work := (yield from self._dirty(stream)):
                steps = work.steps()
                if not (yield from self._copy(work, steps)):
                    resting.append((work, steps))
            if len(resting) >= MOST_RESTING:
                yield from self._settle(resting)
        yield from self._settle(resting)
        versions = self._archive.versions(group_prefix(self._group.name))
        for _, same in groupby(versions, key=lambda version: version.key):
            yield from self._clean_object(list(same))

    def close(self) -> None:
        self._service.close()
        self._archive.close()

    def _change(self, line: Line) -> Line | None:
        if self._chosen and (name := digest(line)) in self._chosen:
            text = self._chosen[name]
            return None if text is None else Line(line.timestamp, text)
        return None if self._judge.owns(line, self._group) else line

    def _rest(self) -> Iterator[None]:
        while self.turn.left() < LEAST:
            time.sleep(0.02)
            yield

    def _delete_stream(self, stream: Stream) -> Iterator[None]:
        yield from self._rest()
        self.erased += self._service.delete_stream(self._group.name, stream.name, self.turn.open())

    def _dirty(self, stream: Stream) -> Generator[None, None, Rewriting | None]:
        """The rewriting of a stream that holds something to drop, else None."""
        named = named_after(self._scope, stream.name)
        dirty = named
        if not named:
            for page in self._service.pages(self._group.name, stream.name):
                dirty = any(self._change(line) is not line for line in page)
                if dirty:
                    break
                yield
        if not dirty:
            return None
        secret = self._scope.pseudonym or self._scope.subject.tenant
        copy = copy_name(stream, named_after_subject=named, secret=secret)
        return Rewriting(
            self._service, self._archive, self._group.name, stream, copy, self._change, self.turn
        )

    def _copy(self, work: Rewriting, steps: Iterator[None]) -> Generator[None, None, bool]:
        """Goes on with one rewriting until it only waits (False) or is done (True)."""
        while next(steps, self) is not self:
            if work.resting:
                return False
            yield
        self.erased += len(work.dropped)
        return True

    def _settle(self, resting: list[tuple[Rewriting, Iterator[None]]]) -> Iterator[None]:
        """Brings every rewriting to its end; they rest side by side."""
        while resting:
            for entry in list(resting):
                if (yield from self._copy(*entry)):
                    resting.remove(entry)
            if resting:
                time.sleep(0.02)
                yield

    def _clean_object(self, versions: list[Version]) -> Iterator[None]:
        """Rewrites one archive when any version of it, a noncurrent one too, holds a line that must go."""
        if goes_whole(self._scope, self._group) and not self._chosen:
            yield from self._delete_versions(versions)
            return
        dirty = False
        for version in versions:
            dirty = dirty or any(self._change(line) is not line for line in self._archive.lines(version))
            yield
        if not dirty:
            return
        current = next((version for version in versions if version.latest), None)
        packer, touched = filtered(self._archive.lines(current) if current else (), self._change)
        self.erased += touched
        yield
        if packer.count and current is not None:
            made = self._archive.write(current.key, packer.packed())
            self._check(current, made)
        yield from self._delete_versions(versions)

    def _check(self, before: Version, after: Version) -> None:
        expected, found = Multiset(), Multiset()
        expected.add(kept for line in self._archive.lines(before) if (kept := self._change(line)) is not None)
        found.add(self._archive.lines(after))
        if expected != found:
            raise Transient(
                "The rewritten archive of a log stream does not equal what it should keep; the old one stays."
            )

    def _delete_versions(self, versions: list[Version]) -> Iterator[None]:
        for version in versions:
            deleted = False
            while not deleted:
                yield from self._rest()
                deleted = self._archive.delete(version, self.turn.open())
                if not deleted:
                    yield
