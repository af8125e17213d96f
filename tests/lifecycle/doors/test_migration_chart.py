"""The picture of blue and green: silence is a gap, never a line; both measures stand on their own axis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from lifecycle.admin.migration_chart import Chart, Line, chart

BEGAN = datetime(2026, 11, 25, 12, tzinfo=UTC)


def _reading(second: int, blue: Any, green: Any) -> tuple[datetime, dict[str, Any]]:
    return BEGAN + timedelta(seconds=second), {"blue": blue, "green": green}


def _line(drawn: Chart, side: str, measure: str) -> Line | None:
    return next((each for each in drawn.lines if (each.side, each.measure) == (side, measure)), None)


def _heights(stroke: str) -> list[float]:
    return [float(pair.split(",")[1]) for pair in stroke.split()]


def test_nothing_is_drawn_without_two_readings() -> None:
    assert chart([]).lines == ()
    assert chart([_reading(0, {"p95": 10, "errors": 0}, None)]).lines == ()


def test_a_side_that_was_not_measured_has_no_line() -> None:
    drawn = chart([_reading(n, {"p95": 20.0, "errors": 0.0}, {}) for n in range(10)])
    assert _line(drawn, "blue", "p95") is not None
    assert _line(drawn, "green", "p95") is None
    assert _line(drawn, "green", "errors") is None


def test_silence_breaks_the_line() -> None:
    seconds = [*range(10), *range(40, 50)]
    drawn = chart([_reading(n, {"p95": 20.0, "errors": 0.0}, {}) for n in seconds])
    line = _line(drawn, "blue", "p95")
    assert line is not None
    assert [len(stroke.split()) for stroke in line.strokes] == [10, 10]


def test_higher_values_stand_higher_and_inside_the_frame() -> None:
    drawn = chart(
        [_reading(n, {"p95": 10.0 * n, "errors": 0.01 * n}, {"p95": 90.0, "errors": 0.5}) for n in range(10)]
    )
    blue, green = _line(drawn, "blue", "errors"), _line(drawn, "green", "errors")
    assert blue is not None and green is not None
    heights = _heights(blue.strokes[0])
    assert heights == sorted(heights, reverse=True)  # SVG counts downwards
    assert max(_heights(green.strokes[0])) < min(heights)
    every = [y for line in drawn.lines for stroke in line.strokes for y in _heights(stroke)]
    _, top, _, bottom = drawn.frame
    assert top <= min(every) and max(every) <= bottom
    assert drawn.left[-1][1] == "100 ms"
    assert drawn.right[-1][1] == "50 %"


def test_an_hour_is_thinned_to_what_can_be_seen() -> None:
    drawn = chart([_reading(n, {"p95": 20.0, "errors": 0.0}, {}) for n in range(3_600)])
    line = _line(drawn, "blue", "p95")
    assert line is not None
    assert len(line.strokes) == 1
    assert 200 < len(line.strokes[0].split()) <= 240
