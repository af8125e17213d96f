"""Many items at little cost: runs of keys that share kind, category and action, in the order in which they were found."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, overload

import orjson

from lifecycle.systems.base import Action, Item


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive items that differ by key alone, and by size where `sizes` is given (one for each key)."""

    kind: str
    category: str
    action: Action
    keys: Sequence[str]
    sizes: Sequence[int] = ()

    def __iter__(self) -> Iterator[Item]:
        kind, category, action = self.kind, self.category, self.action
        if not self.sizes:
            return (Item(kind, key, category, action) for key in self.keys)
        pairs = zip(self.keys, self.sizes, strict=True)
        return (Item(kind, key, category, action, size) for key, size in pairs)

    def part(self, start: int, stop: int) -> Run:
        """The keys from `start` to before `stop`."""
        if start <= 0 and stop >= len(self.keys):
            return self
        keys, sizes = self.keys[start:stop], self.sizes[start:stop]
        return Run(self.kind, self.category, self.action, keys, sizes)


class Items(Sequence[Item]):
    """A sequence of items held as runs; an `Item` is made only for who asks for one. Slices (without a step) are Items."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = tuple(run for run in runs if run.keys)
        self._ends = list(accumulate(len(run.keys) for run in self.runs))

    @classmethod
    def of(cls, items: Iterable[Item]) -> Items:
        """Any items as runs; what is Items already stays the same object."""
        return items if isinstance(items, Items) else cls(_runs(items))

    def where(self, wanted: Callable[[Run], bool]) -> Items:
        """The runs that are wanted; kind, category and action alone decide."""
        return Items(run for run in self.runs if wanted(run))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Item]:
        for run in self.runs:
            yield from run

    @overload
    def __getitem__(self, at: int) -> Item: ...

    @overload
    def __getitem__(self, at: slice) -> Items: ...

    def __getitem__(self, at: int | slice) -> Item | Items:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step != 1:
                raise ValueError("Items are sliced without a step.")
            return Items(self._between(start, stop))
        position = at + len(self) if at < 0 else at
        if not 0 <= position < len(self):
            raise IndexError("There is no item at this place.")
        index = bisect_right(self._ends, position)
        inside = position - (self._ends[index] - len(self.runs[index].keys))
        return next(iter(self.runs[index].part(inside, inside + 1)))

    def _between(self, start: int, stop: int) -> Iterator[Run]:
        for run, end in zip(self.runs, self._ends, strict=True):
            first = end - len(run.keys)
            if first < stop and end > start:
                yield run.part(max(0, start - first), stop - first)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Items({len(self)})"


def _runs(items: Iterable[Item]) -> Iterator[Run]:
    for (kind, category, action), group in groupby(
        items, key=lambda each: (each.kind, each.category, each.action)
    ):
        listed = list(group)
        sizes = [each.size for each in listed] if any(each.size for each in listed) else ()
        yield Run(kind, category, action, [each.key for each in listed], sizes)


def columns(keys: Iterable[str], width: int) -> list[list[Any]] | None:
    """The parts of JSON keys of `width` plain parts each, place by place; None where their number differs.

    One flat parse: a small list for each key keeps the garbage collector busy for longer than everything else takes.
    """
    bodies = [key[1:-1] for key in keys]
    flat: list[Any] = orjson.loads(f"[{','.join(bodies)}]")
    return [flat[at::width] for at in range(width)] if len(flat) == width * len(bodies) else None
