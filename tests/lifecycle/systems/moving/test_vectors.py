"""Vectors move as they were, under the service's limits; a side is given up only when nothing leans on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lifecycle.participation.digests import of_vector
from lifecycle.systems.base import Permanent
from lifecycle.systems.movable import Kind, Side
from lifecycle.systems.pinecone.moves.store import UPSERT_BYTES, bodies
from lifecycle.systems.pinecone.moving import PineconeMover
from tests.lifecycle.systems.moving.world import BLUE, GREEN, MAP, World, differences, whole


@pytest.fixture
def mover(world: World) -> Iterator[PineconeMover]:
    made = PineconeMover(world.move("pinecone"), MAP)
    yield made
    made.close()


def _settled(world: World, name: str) -> None:
    ends = time.monotonic() + 10
    while not world.blue.vectors(world.namespace, [f"{name}#0"]):
        assert time.monotonic() < ends, "reads never caught up"
        time.sleep(0.02)


def test_the_plan_refuses_a_target_where_something_lies(world: World, mover: PineconeMover) -> None:
    assert not [each for each in mover.plan() if each.refuses]
    world.green.upsert(world.namespace, [world.vector("whose")])
    ends = time.monotonic() + 10
    while not [each for each in mover.plan() if each.refuses]:
        assert time.monotonic() < ends, "the plan never saw it"
    assert "Vectors already lie" in next(each.sentence for each in mover.plan() if each.refuses)


def test_the_owner_is_not_cleaned_nor_a_side_whose_writes_have_not_arrived(
    world: World, mover: PineconeMover
) -> None:
    world.write_vector("a")
    _settled(world, "a")
    world.owner(GREEN)
    with pytest.raises(Permanent, match="us-west-2 owns"):
        mover.clean(mover.move.target)
    with pytest.raises(Permanent, match="1 things written here have not arrived"):
        mover.clean(mover.move.source)
    assert world.blue.vectors(world.namespace, ["a#0"])
    world.applied()
    mover.clean(mover.move.source)
    assert world.blue.vectors(world.namespace, ["a#0"]) == {}


def test_vectors_arrive_as_they_were_and_a_second_copy_changes_nothing(
    world: World, mover: PineconeMover
) -> None:
    plain = [world.vector(f"v{n}") for n in range(2_300)]
    plain[7].pop("metadata")
    for at in range(0, len(plain), 900):
        world.blue.upsert(world.namespace, plain[at : at + 900])
    _settled(world, "v2299")
    progress = whole(mover.copy, 0.0)
    assert progress.done == len(plain)
    ids = [each["id"] for each in plain]
    wanted = {each["id"]: of_vector(each["values"], each.get("metadata")) for each in plain}
    assert world.green.vectors(world.namespace, ids) == wanted
    assert differences(mover.compare) == []
    assert whole(mover.copy).done == len(plain)
    assert world.green.vectors(world.namespace, ids) == wanted


def test_a_number_of_the_metadata_that_differs_is_a_difference(world: World, mover: PineconeMover) -> None:
    vector = world.vector("a")
    world.blue.upsert(world.namespace, [vector])
    world.green.upsert(world.namespace, [{**vector, "metadata": {**vector["metadata"], "n": 2}}])
    _settled(world, "a")
    found = differences(mover.compare)
    assert [each.kind for each in found] == [Kind.CORRUPTED]
    assert mover.repair(found) == 1
    assert differences(mover.compare) == []


def test_what_the_applier_owns_is_not_overwritten_by_a_copy(world: World, mover: PineconeMover) -> None:
    """Blue's reads lag: a copy could bring what the applier has overtaken."""
    world.blue.upsert(world.namespace, [world.vector("a", "old")])
    _settled(world, "a")
    newer = world.vector("a", "new")
    world.green.upsert(world.namespace, [newer])
    key = f'["{world.namespace}", "a#0"]'
    world.say("pinecone", key, "put", of_vector(newer["values"], newer["metadata"]))
    whole(mover.copy)
    time.sleep(0.5)
    assert world.green.vectors(world.namespace, ["a#0"]) == {
        "a#0": of_vector(newer["values"], newer["metadata"])
    }


def test_upserts_stay_within_number_and_size() -> None:
    wide = [
        {"id": str(n), "values": [0.123456789] * 3_000, "metadata": {"t": "x" * 4_000}} for n in range(300)
    ]
    made = list(bodies("ns", wide))
    assert sum(body.count(b'"id"') for body in made) == 300
    assert max(map(len, made)) <= UPSERT_BYTES
    assert len(list(bodies("ns", ({"id": str(n), "values": [1.0]} for n in range(2_001))))) == 3


def test_a_throttled_copy_keeps_to_its_rate(world: World) -> None:
    world.blue.upsert(world.namespace, [world.vector(f"slow{n}") for n in range(600)])
    _settled(world, "slow0")
    move = world.move("pinecone")
    limited = {**move.source.place, "vectors_per_second": "200"}
    slow, began = PineconeMover(replace(move, source=Side(BLUE, limited)), MAP), time.monotonic()
    try:
        whole(slow.copy)
        assert time.monotonic() - began > 1.8, "the first second's worth is free, the rest takes its time"
        assert differences(slow.compare) == []
    finally:
        slow.close()
