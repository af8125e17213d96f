"""The second half of `make demo` refuses what must not be: failures, differences, lost writes, two owners."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from demo.load.ledger import Entry, Ledger
from demo.load.summary import summary
from demo.program import Failed, Program
from demo.proving_moves import MoveProof, _pause_of_flip

BLUE, GREEN = "us-east-1", "us-west-2"
GOOD: Mapping[str, Any] = {
    "requests": 3,
    "failed": 0,
    "differences": 0,
    "acknowledged_writes": 2,
    "acknowledged_writes_missing": 0,
    "left_on_blue": 0,
}


def _put(at: float, owner: str, ms: float = 10.0) -> Entry:
    return Entry("put", at, ms, 201, acknowledged=True, region=owner, owner=owner, id=f"d{at}")


def _judged(root: Path, entries: list[Entry], **found: Any) -> None:
    """What the proof says of this ledger and these findings; the move ends at second 10."""
    ledger = Ledger(root / "load.jsonl")
    for each in entries:
        ledger.note(each)
    ledger.close()
    told = {"all": summary(root / "load.jsonl"), "after": summary(root / "load.jsonl", 10)}
    MoveProof(Program(root), root, "17")._refuse({**GOOD, **found}, told, GREEN)


FLIPPED = [_put(1, BLUE), _put(5, GREEN), _put(11, GREEN)]


def test_a_clean_move_holds(tmp_path: Path) -> None:
    _judged(tmp_path, FLIPPED)
    assert _pause_of_flip(tmp_path / "load.jsonl") == 4000.0


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"failed": 1}, "1 requests failed"),
        ({"differences": 2}, "differ in 2 keys"),
        ({"acknowledged_writes_missing": 1}, "not kept in us-west-2"),
        ({"left_on_blue": 3}, "3 documents are left on blue"),
        ({"requests": 0}, "did not ask or write"),
        ({"acknowledged_writes": 0}, "did not ask or write"),
    ],
)
def test_what_must_not_be_is_refused(tmp_path: Path, found: dict[str, int], sentence: str) -> None:
    with pytest.raises(Failed, match=sentence):
        _judged(tmp_path, FLIPPED, **found)


def test_a_write_that_blue_acknowledged_after_green_owned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="1 writes were acknowledged by blue after green"):
        _judged(tmp_path, [*FLIPPED, _put(9, BLUE)])


def test_a_write_on_blue_that_began_before_the_flip_may_be_told_after_it(tmp_path: Path) -> None:
    _judged(tmp_path, [*FLIPPED, _put(5.1, BLUE, ms=500)])


def test_an_answer_of_blue_after_the_move_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not us-west-2 alone"):
        _judged(tmp_path, [*FLIPPED, Entry("list", 12, 5, 200, region=BLUE)])
