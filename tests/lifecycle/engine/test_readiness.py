"""The rule of stages and lanes, without a database."""

from dataclasses import dataclass

import pytest

from lifecycle.engine.readiness import standing


@dataclass(frozen=True)
class Fact:
    name: str
    stage: int
    lane: str
    state: str


def facts(text: str) -> list[Fact]:
    """`1:s3:done 2:s3:waiting` as steps; an empty lane is a step with none."""
    parts = [word.split(":") for word in text.split()]
    return [
        Fact(word, int(stage), lane, state)
        for word, (stage, lane, state) in zip(text.split(), parts, strict=True)
    ]


@pytest.mark.parametrize(
    ("steps", "ready", "stranded", "over"),
    [
        ("1::waiting 2:a:waiting", "1::waiting", "", False),
        ("1::done 2:a:waiting 2:b:running", "2:a:waiting 2:b:running", "", False),
        ("1:a:done 1:b:running 2:a:waiting", "1:b:running", "", False),
        # One lane failed: its neighbour goes on, through later stages; what needs all of them never starts.
        (
            "1:a:failed 1:b:done 2:a:waiting 2:b:waiting 3::waiting",
            "2:b:waiting",
            "2:a:waiting 3::waiting",
            False,
        ),
        (
            "1:a:failed 1:b:done 2:a:waiting 2:b:done 3:a:waiting 3:b:waiting",
            "3:b:waiting",
            "2:a:waiting 3:a:waiting",
            False,
        ),
        ("1:a:failed 1:b:done 2:a:waiting 2:b:done 3::waiting", "", "2:a:waiting 3::waiting", True),
        # A step with no lane that failed stops every lane.
        ("1::failed 2:a:waiting 2:b:waiting", "", "2:a:waiting 2:b:waiting", True),
        # Blocked is neither ready nor the end.
        ("1:a:blocked 1:b:done 2:b:waiting", "", "", False),
        ("1:a:done 2::done", "", "", True),
    ],
)
def test_who_may_start(steps: str, ready: str, stranded: str, over: bool) -> None:
    found = standing(facts(steps))

    assert [each.name for each in found.ready] == ready.split()
    assert [each.name for each in found.stranded] == stranded.split()
    assert found.over is over
