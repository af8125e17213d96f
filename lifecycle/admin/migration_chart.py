"""Error rate and p95 of blue and green on one picture: readings in, lines of an SVG out. Nothing runs in the browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil, log10
from typing import Any

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 44, 12, 24
MOST_POINTS = 240
GAP_S = 5.0  # a longer silence breaks the line: silence is not drawn as if it were health
_SIDES = ("blue", "green")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: whose, of what, and its strokes as SVG point lists."""

    side: str
    measure: str
    strokes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """All that the template draws. `left` and `right` are (y, words) of the two axes, `below` (x, words)."""

    lines: tuple[Line, ...] = ()
    left: tuple[tuple[float, str], ...] = ()
    right: tuple[tuple[float, str], ...] = ()
    below: tuple[tuple[float, str], ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    frame: tuple[int, int, int, int] = field(default=(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM))


@dataclass(frozen=True, slots=True)
class Point:
    """One reading of one side: p95 in milliseconds, errors as a share; None where nothing was measured."""

    at: datetime
    p95: float | None
    errors: float | None


def chart(readings: Sequence[tuple[datetime, dict[str, Any]]]) -> Chart:
    """The picture of `readings`, oldest first. Empty without two of them."""
    thinned = readings[:: max(1, ceil(len(readings) / MOST_POINTS))]
    if len(thinned) < 2:
        return Chart()
    sides = {side: [_point(at, data.get(side) or {}) for at, data in thinned] for side in _SIDES}
    first, last = thinned[0][0], thinned[-1][0]
    seconds = max(1.0, (last - first).total_seconds())
    slowest = _round_up(max((p.p95 or 0.0 for points in sides.values() for p in points), default=0.0), 50.0)
    worst = _round_up(
        max((100 * (p.errors or 0.0) for points in sides.values() for p in points), default=0.0), 2.0
    )

    def x(at: datetime) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - first).total_seconds() / seconds

    step = max(GAP_S, 3 * seconds / len(thinned))
    lines = [
        Line(side, measure, _strokes(sides[side], read, x, top, step))
        for measure, top, read in (
            ("p95", slowest, lambda point: point.p95),
            ("errors", worst, lambda point: None if point.errors is None else 100 * point.errors),
        )
        for side in _SIDES
    ]
    return Chart(
        lines=tuple(line for line in lines if line.strokes),
        left=tuple((_y(slowest * part, slowest), f"{slowest * part:,.0f} ms") for part in (0, 0.5, 1)),
        right=tuple((_y(worst * part, worst), f"{worst * part:g} %") for part in (0, 0.5, 1)),
        below=tuple((x(at), f"{at:%H:%M:%S}") for at in (first, first + (last - first) / 2, last)),
    )


def _point(at: datetime, side: dict[str, Any]) -> Point:
    p95, errors = side.get("p95"), side.get("errors")
    return Point(at, None if p95 is None else float(p95), None if errors is None else float(errors))


def _strokes(
    points: Sequence[Point],
    read: Callable[[Point], float | None],
    x: Callable[[datetime], float],
    top: float,
    gap: float,
) -> tuple[str, ...]:
    strokes: list[list[str]] = [[]]
    before: datetime | None = None
    for point in points:
        value = read(point)
        if value is None or (before is not None and (point.at - before).total_seconds() > gap):
            strokes.append([])
        if value is not None:
            strokes[-1].append(f"{x(point.at):.1f},{_y(value, top):.1f}")
            before = point.at
    return tuple(" ".join(each) for each in strokes if len(each) > 1)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1.0, value / top)


def _round_up(value: float, least: float) -> float:
    """The next 1, 2 or 5 times a power of ten, at least `least`."""
    if value <= least:
        return least
    size = 10.0 ** int(log10(value))
    return next(size * step for step in (1, 2, 5, 10) if value <= size * step)
