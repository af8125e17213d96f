"""Canaries: one per table that is erased, seen by the verifier, gone with the subject, liftable without a trace."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lifecycle.systems.base import Permanent, Planted
from lifecycle.systems.needles import CANARY
from tests.lifecycle.systems.postgresql.world import (
    World,
    erase_all,
    hits,
    known,
    neighbours,
    scope,
    snapshot,
)

USER_SHAPES = {"row:highlights", "row:chunks", "row:access_controls", "row:documents", "row:messages"}
USER_SHAPES |= {
    "row:conversations",
    "row:queries",
    "row:api_keys",
    "row:invoices",
    "row:feedback",
    "large_object",
    "row:lifecycle.change",
    "row:lifecycle.applied",
}
TENANT_SHAPES = USER_SHAPES | {"row:users", "row:lifecycle.probe", "row:lifecycle.tombstone"}


@pytest.mark.parametrize("user", ["u-1", None])
def test_each_canary_is_seen_alone_and_goes_with_the_subject(platform: World, user: str | None) -> None:
    subject = known(platform, "1", user)
    eraser, verifier = platform.eraser(), platform.verifier()
    shapes = eraser.shapes(subject)
    assert set(shapes) == (USER_SHAPES if user else TENANT_SHAPES)
    before = neighbours(verifier, subject)
    markers = {shape: f"canary{number:024d}" for number, shape in enumerate(shapes)}
    for shape, marker in markers.items():
        planted = eraser.plant(subject, shape, marker)
        again = eraser.plant(subject, shape, marker)
        assert planted.marker == again.marker == marker
    subject = replace(subject, canaries=tuple(markers.values()))
    seen = [hit for hit in hits(verifier, subject) if hit.needle == CANARY]
    for shape, marker in markers.items():
        kinds = {hit.kind for hit in seen if marker in hit.excerpt}
        assert shape.removeprefix("row:") in kinds, shape
        assert kinds <= {shape.removeprefix("row:")}, shape
    assert platform.one("SELECT count(*) FROM documents WHERE title LIKE 'canary%' AND NOT hidden") == 0
    assert neighbours(verifier, subject) == before
    erase_all(eraser, subject)
    assert hits(verifier, subject) == []
    assert neighbours(verifier, subject) == before


def test_a_lifted_canary_leaves_no_trace(platform: World) -> None:
    subject = scope("1", "u-1")
    eraser = platform.eraser()
    before = snapshot(platform)
    planted = [
        eraser.plant(subject, shape, f"canary{n:024d}") for n, shape in enumerate(eraser.shapes(subject))
    ]
    assert snapshot(platform) != before
    for each in planted:
        eraser.lift(json_copy(each))
        eraser.lift(each)
    assert snapshot(platform) == before


def json_copy(planted: Planted) -> Planted:
    return Planted(
        **json.loads(json.dumps({"shape": planted.shape, "marker": planted.marker, "place": planted.place}))
    )


def test_what_is_kept_gets_no_canary(bare: World) -> None:
    spared = scope("1", "u-1", retained={"invoices": None}, held_categories=frozenset({"messages"}))
    shapes = bare.eraser().shapes(spared)
    assert not {"row:invoices", "row:messages", "row:conversations", "row:audit_logs", "row:users"} & set(
        shapes
    )
    with pytest.raises(Permanent, match="no canary shape row:invoices"):
        bare.eraser().plant(spared, "row:invoices", "canary000")
