"""Objects move with every version, in order, as they were; a side is given up only when nothing leans on it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lifecycle.participation.digests import of_object
from lifecycle.systems import registry
from lifecycle.systems.base import Permanent
from lifecycle.systems.movable import Kind, Side
from lifecycle.systems.s3.moves import large
from lifecycle.systems.s3.moving import S3Mover
from tests.lifecycle.systems.moving.world import BLUE, GREEN, MAP, World, differences, whole


@pytest.fixture
def mover(world: World) -> Iterator[S3Mover]:
    made = S3Mover(world.move("s3"), MAP)
    yield made
    made.close()


def test_the_plan_refuses_a_target_where_something_lies(world: World, mover: S3Mover) -> None:
    assert not [each for each in mover.plan() if each.refuses]
    world.green.put(world.key("secret"), b"?")
    refusals = [each.sentence for each in mover.plan() if each.refuses]
    assert len(refusals) == 1
    assert "1 object versions already lie" in refusals[0]
    assert "secret" not in refusals[0]


def test_the_owner_is_not_cleaned_nor_a_side_whose_writes_have_not_arrived(
    world: World, mover: S3Mover
) -> None:
    key = world.write("a", b"a")
    whole(mover.copy)
    with pytest.raises(Permanent, match="does not say that it owns"):
        mover.clean(mover.move.target)
    world.owner(GREEN)
    with pytest.raises(Permanent, match="us-west-2 owns"):
        mover.clean(mover.move.target)
    with pytest.raises(Permanent, match="1 things written here have not arrived"):
        mover.clean(mover.move.source)
    assert world.blue.get(key) == world.green.get(key) == b"a"
    neighbour = f"tenant-{world.tenant}0/user-u/a"
    world.blue.put(neighbour, b"neighbour")
    world.applied()
    slot = f"mv_{world.move_id}_fwd"
    world.blue.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
    try:
        with pytest.raises(Permanent, match="streams are still there"):
            mover.clean(mover.move.source)
    finally:
        world.blue.sql("SELECT pg_drop_replication_slot(%s)", slot)
    assert world.blue.get(key) == b"a"
    mover.clean(mover.move.source)
    assert world.blue.history(key) == []
    assert world.blue.get(neighbour) == b"neighbour"
    assert world.green.get(key) == b"a"
    world.blue.drop_versions(neighbour)


def test_every_version_marker_and_description_arrives_in_order(world: World, mover: S3Mover) -> None:
    first, second = b"draft", b"final \xff\x00"
    described = {"ContentType": "text/x-odd", "Metadata": {"document": "d 1"}, "CacheControl": "no-store"}
    key = world.key("ümlaut & plus+ 100%/x")
    world.blue.put(key, first)
    world.blue.put(key, second, Tagging="team=a%20b&k=v", **described)
    gone = world.key("gone")
    world.blue.put(gone, b"was here")
    world.blue.s3.delete_object(Bucket=world.blue.bucket, Key=gone)
    world.blue.put(world.key("empty"), b"")
    progress = whole(mover.copy, 0.0)
    assert (progress.done, progress.total) == (5, 5)
    assert world.green.history(key) == [of_object(first), of_object(second)]
    there = world.green.s3.get_object(Bucket=world.green.bucket, Key=key)
    assert there["ContentType"] == "text/x-odd"
    assert there["Metadata"] == {"document": "d 1"}
    assert there["CacheControl"] == "no-store"
    tags = world.green.s3.get_object_tagging(Bucket=world.green.bucket, Key=key)["TagSet"]
    assert {each["Key"]: each["Value"] for each in tags} == {"team": "a b", "k": "v"}
    assert world.green.history(gone) == [of_object(b"was here"), "marker"]
    assert world.green.get(world.key("empty")) == b""
    assert differences(mover.compare) == []
    again = whole(mover.copy)
    assert again.moved_bytes == 0
    assert len(world.green.history(key)) == 2


def test_a_large_object_arrives_whole(world: World, mover: S3Mover) -> None:
    body = os.urandom(large.LARGE + 12_345)
    key = world.key("large")
    world.blue.put(key, body, ContentType="application/x-large", Metadata={"document": "d"})
    whole(mover.copy)
    there = world.green.s3.head_object(Bucket=world.green.bucket, Key=key)
    assert (there["ContentType"], there["Metadata"]) == ("application/x-large", {"document": "d"})
    assert of_object(world.green.get(key) or b"") == of_object(body)
    assert differences(mover.compare) == []


def test_what_was_deleted_meanwhile_is_not_brought_back(world: World, mover: S3Mover) -> None:
    """The owner's rows say deleted; its store is slower."""
    key = world.write("late", b"late")
    world.say("s3", key, "delete", "")
    whole(mover.copy)
    assert world.green.get(key) is None


def test_a_description_that_differs_is_a_difference(world: World, mover: S3Mover) -> None:
    key = world.key("described")
    world.blue.put(key, b"same", ContentType="text/plain")
    world.green.put(key, b"same", ContentType="text/html")
    found = differences(mover.compare)
    assert [(each.kind, each.key) for each in found] == [(Kind.CORRUPTED, key)]
    assert mover.repair(found) == 1
    assert world.green.s3.head_object(Bucket=world.green.bucket, Key=key)["ContentType"] == "text/plain"
    assert world.green.history(key) == [of_object(b"same")]


def test_what_the_owner_still_names_is_never_removed(world: World, mover: S3Mover) -> None:
    """A difference handed in by mistake, and an owner's store that lost an object which its rows name."""
    key = world.write("named", b"named")
    whole(mover.copy)
    world.applied()
    world.blue.drop_versions(key)
    found = differences(mover.compare)
    assert [each.kind for each in found] == [Kind.FOREIGN]
    assert mover.repair(found) == 0
    assert world.green.get(key) == b"named"
    assert mover.move.source.region == BLUE


def test_after_the_flip_green_is_the_truth(world: World) -> None:
    """The way in which a move was planned must not bring blue's old content back over green's."""
    key = world.key("a")
    world.blue.put(key, b"old")
    world.green.put(key, b"old")
    world.green.put(key, b"new, written on green")
    world.owner(GREEN)
    mover = registry.mover("s3", world.move("s3"), MAP)
    found = differences(mover.compare)
    assert [(each.kind, each.key) for each in found] == [(Kind.STALE, key)]
    assert mover.repair(found) == 1
    mover.close()
    assert world.green.get(key) == world.blue.get(key) == b"new, written on green"


def test_a_legal_hold_moves_with_its_object(world: World, mover: S3Mover) -> None:
    key = world.key("held")
    version = world.blue.put(key, b"held")
    hold = {"Bucket": world.blue.bucket, "Key": key, "VersionId": version}
    world.blue.s3.put_object_legal_hold(**hold, LegalHold={"Status": "ON"})
    assert not [each for each in mover.plan() if each.refuses]
    whole(mover.copy)
    there = world.green.s3.head_object(Bucket=world.green.bucket, Key=key)
    world.blue.s3.put_object_legal_hold(**hold, LegalHold={"Status": "OFF"})
    world.green.s3.put_object_legal_hold(
        Bucket=world.green.bucket, Key=key, VersionId=there["VersionId"], LegalHold={"Status": "OFF"}
    )
    assert there["ObjectLockLegalHoldStatus"] == "ON"
    assert differences(mover.compare) == []


def test_a_throttled_copy_keeps_to_its_rates_and_ends_its_slices(world: World) -> None:
    for number in range(30):
        world.blue.put(world.key(f"o{number:02}"), b"x" * 1000)
    move = world.move("s3")
    for limit in ({"objects_per_second": "10"}, {"bytes_per_second": "10000"}):
        slow = S3Mover(replace(move, source=Side(BLUE, {**move.source.place, **limit})), MAP)
        began = time.monotonic()
        try:
            first = slow.copy(None, 0.1)
            if "objects_per_second" in limit:
                assert first.cursor is not None, "a slice ends long before the copy"
            while first.cursor is not None:
                first = slow.copy(first.cursor, 60)
            # The first second's worth is free.
            assert time.monotonic() - began > 1.8, limit
            assert differences(slow.compare) == []
            for key in (world.key(f"o{number:02}") for number in range(30)):
                world.green.drop_versions(key)
        finally:
            slow.close()
