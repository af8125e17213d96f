"""Results as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Result:
    """One measure. With a peer, `goal` is the least ratio; without one it is the most that `ours` may be, in `unit`."""

    name: str
    unit: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = None
    goal: float | None = None

    @classmethod
    def of(cls, name: str, ours: float, peer: float, peer_name: str, goal: float) -> Result:
        """Records per second beside a peer's."""
        return cls(name, "records/s", round(ours, 1), round(peer, 1), peer_name, round(ours / peer, 3), goal)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        return self.ratio >= self.goal if self.ratio is not None else self.ours <= self.goal


def table(results: Iterable[Result]) -> str:
    """Fixed columns for a terminal."""
    lines = [f"{'measure':<38}{'unit':<11}{'ours':>12}{'peer':>12}{'ratio':>8}{'goal':>8}  {'':<5}peer"]
    for each in results:
        word = {True: "met", False: "below" if each.peer else "above", None: ""}[each.met]
        lines.append(
            f"{each.name:<38}{each.unit:<11}{each.ours:>12,.1f}{_number(each.peer, 1):>12}"
            f"{_number(each.ratio, 2):>8}{_number(each.goal, 1):>8}  {word:<7}{each.peer_name}"
        )
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def write(results: Iterable[Result], path: Path) -> None:
    """The list as JSON."""
    path.write_text(json.dumps([asdict(each) for each in results], indent=1) + "\n")
