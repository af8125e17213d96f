"""What the applier must never do, and what it brings: newer versions only, deletions stay, failures are counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lifecycle.participation.digests import of_object
from lifecycle.systems.following import apply
from lifecycle.systems.ledger import Ledger, open_ledger
from lifecycle.systems.movable import Lag
from lifecycle.systems.s3.moves.follower import S3Follower
from lifecycle.systems.s3.moving import S3Mover
from tests.lifecycle.applier.conftest import applying, live, places, until
from tests.lifecycle.systems.moving.world import BLUE, GREEN, MAP, World


@pytest.fixture
def green(world: World) -> Iterator[Ledger]:
    ledger = open_ledger(world.green.dsn, world.tenant)
    assert ledger is not None
    yield ledger
    ledger.close()


@pytest.fixture
def follower(world: World) -> Iterator[S3Follower]:
    made = S3Follower(world.blue.place["s3"], world.green.place["s3"])
    yield made
    made.close()


def test_an_older_change_never_comes_after_a_newer_one(
    world: World, green: Ledger, follower: S3Follower
) -> None:
    key = world.write("a", b"one")
    old = green.pending("s3", BLUE)
    world.write("a", b"two")
    assert apply(green, follower, green.pending("s3", BLUE)).applied == 1
    outcome = apply(green, follower, old)
    assert (outcome.applied, outcome.skipped) == (0, 1)
    assert world.green.get(key) == b"two"
    assert world.green.history(key) == [of_object(b"one"), of_object(b"two")]


def test_what_the_follower_wrote_later_itself_is_not_overwritten(world: World, green: Ledger) -> None:
    """After the flip: blue's last change arrives late, green has written the same key since."""
    key = world.write("a", b"blue's")
    world.green.put(key, b"green's")
    world.say("s3", key, "put", of_object(b"green's"), origin=GREEN)
    assert green.pending("s3", BLUE) == []
    assert green.waiting("s3", BLUE).keys == 0


def test_a_put_that_the_owner_does_not_hold_is_lag_and_not_made_up(
    world: World, green: Ledger, follower: S3Follower
) -> None:
    key = world.key("never")
    world.say("s3", key, "put", of_object(b"never stored"))
    outcome = apply(green, follower, green.pending("s3", BLUE))
    assert list(outcome.failed) == [key]
    assert key not in str(outcome.failed[key])
    assert world.green.history(key) == []
    assert green.waiting("s3", BLUE).keys == 1


def test_a_deletion_removes_the_key_and_nothing_of_its_neighbour(
    world: World, green: Ledger, follower: S3Follower
) -> None:
    gone, stays = world.write("doc-1", b"gone"), world.write("doc-10", b"stays")
    apply(green, follower, green.pending("s3", BLUE))
    world.remove("doc-1")
    apply(green, follower, green.pending("s3", BLUE))
    assert world.green.history(gone) == []
    assert world.green.get(stays) == b"stays"
    assert green.applied("s3", [gone])[gone][1] == "delete"


def test_what_the_application_wrote_to_both_regions_is_noted_without_the_owner(
    world: World, green: Ledger
) -> None:
    """Safe soak: nothing is read from the owner, which is out of reach here."""
    key = world.key("both")
    world.green.put(key, b"both")
    world.say("s3", key, "put", of_object(b"both"))
    unreachable = {**world.blue.place["s3"], "endpoint": "http://127.0.0.1:1"}
    follower = S3Follower(unreachable, world.green.place["s3"])
    assert apply(green, follower, green.pending("s3", BLUE)).applied == 1
    follower.close()
    assert len(world.green.history(key)) == 1
    assert green.waiting("s3", BLUE).keys == 0


def test_a_change_overtaken_by_one_that_was_not_copied_is_replaced_by_it(
    world: World, green: Ledger, follower: S3Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two moves no row was replicated: the follower knows an old change of a key, the owner a newer one."""
    monkeypatch.setattr("lifecycle.systems.following.LINGER", 0.0)
    key = world.key("a")
    world.say("s3", key, "put", of_object(b"old"))
    world.blue.put(key, b"new")
    newest = world.say("s3", key, "put", of_object(b"new"), where=BLUE)
    blue = open_ledger(world.blue.dsn, world.tenant)
    assert blue is not None
    assert apply(green, follower, green.pending("s3", BLUE), blue).failed == {}
    blue.close()
    assert green.applied("s3", [key])[key][0] == newest
    assert world.green.get(key) == b"new"


def test_both_stores_follow_both_ways_and_a_key_that_fails_is_counted(world: World, tmp_path: Path) -> None:
    lost = world.key("lost")
    world.say("s3", lost, "put", of_object(b"lost"))
    with applying(world, tmp_path) as applier:
        keys = {world.write(f"doc-{n}", f"text {n}".encode()): f"text {n}".encode() for n in range(40)}
        vectors = [world.write_vector(f"doc-{n}") for n in range(40)]
        back = world.key("back")
        world.green.put(back, b"back")
        world.say("s3", back, "put", of_object(b"back"), origin=GREEN)
        until(lambda: all(world.green.get(key) == body for key, body in keys.items()))
        until(
            lambda: (
                len(world.green.vectors(world.namespace, [f"doc-{n}#0" for n in range(40)])) == len(vectors)
            )
        )
        until(lambda: world.blue.get(back) == b"back")
        world.remove_vector("doc-3")
        until(lambda: not world.green.vectors(world.namespace, ["doc-3#0"]))
        until(lambda: _told(applier.standing(), world, GREEN, "s3")["failed"] == 1)
        told = applier.standing()
        assert _told(told, world, GREEN, "s3")["behind"] == 1
        assert _told(told, world, GREEN, "pinecone")["behind"] == 0
        assert _told(told, world, BLUE, "s3")["behind"] == 0
        assert "lost" not in str(told)
        world.blue.put(lost, b"lost")
        until(lambda: world.green.get(lost) == b"lost")
        until(lambda: _told(applier.standing(), world, GREEN, "s3")["behind"] == 0)
    mover = S3Mover(world.move("s3"), MAP)
    assert mover.lag() == Lag(0, 0.0)
    mover.close()


def _told(
    standing: dict[str, dict[str, dict[str, dict[str, int]]]], world: World, region: str, store: str
) -> dict[str, int]:
    return standing[world.move_id][region][store]


def test_a_dead_store_is_told_as_such_and_no_key_is_blamed(world: World, tmp_path: Path) -> None:
    """Every key fails while the owner's store is down; once it answers, all arrive."""
    nobody = {**places(world.blue), "s3": {**places(world.blue)["s3"], "endpoint": "http://127.0.0.1:1"}}
    keys = [world.write(f"doc-{n}", b"text") for n in range(30)]
    with applying(world, tmp_path, replace(live(world), source=nobody)) as applier:
        until(lambda: world.move_id in applier.standing())
        until(lambda: "did not answer" in str(_told(applier.standing(), world, GREEN, "s3")["why"]))
        told = _told(applier.standing(), world, GREEN, "s3")
        assert (told["behind"], told["failed"]) == (30, 0)
    with applying(world, tmp_path):
        until(lambda: all(world.green.get(key) == b"text" for key in keys))
