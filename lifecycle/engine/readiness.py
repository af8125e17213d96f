"""Which steps of a run may start: stages in order, lanes that don't stop each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, Protocol, TypeVar

_OPEN = {"waiting", "running", "blocked"}


class Placed(Protocol):
    """What the rule needs to know of a step."""

    @property
    def stage(self) -> int: ...
    @property
    def lane(self) -> str: ...
    @property
    def state(self) -> str: ...


P = TypeVar("P", bound=Placed)


@dataclass(frozen=True)
class Standing(Generic[P]):
    """`ready`: may start or go on. `stranded`: an earlier step of its lane (or a laneless one) is not done and never
    will be without a retry. `broken`: failed steps. `over`: nothing is left that could go on by itself."""

    ready: Sequence[P]
    stranded: Sequence[P]
    broken: Sequence[P]
    over: bool


def standing(steps: Iterable[P]) -> Standing[P]:
    """Applies the rule of `lifecycle.models.Step`. A stranded step counts as settled, so neighbours go on."""
    ready: list[P] = []
    stranded: list[P] = []
    broken: list[P] = []
    spoilt: set[str] = set()
    earlier_settled, over = True, True
    for _, same in groupby(sorted(steps, key=lambda each: each.stage), key=lambda each: each.stage):
        newly_spoilt: set[str] = set()
        for step in same:
            if step.state in _OPEN and _spoilt(step.lane, spoilt):
                stranded.append(step)
                newly_spoilt.add(step.lane)
            elif step.state in _OPEN:
                over = False
                if earlier_settled and step.state != "blocked":
                    ready.append(step)
            elif step.state != "done":
                broken.append(step)
                newly_spoilt.add(step.lane)
        spoilt |= newly_spoilt
        earlier_settled = over
    return Standing(ready, stranded, broken, over)


def _spoilt(lane: str, spoilt: set[str]) -> bool:
    return bool(spoilt) if not lane else lane in spoilt or "" in spoilt
