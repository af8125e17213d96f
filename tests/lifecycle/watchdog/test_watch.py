"""A whole watchdog beside real databases, HAProxy and applications: orders, trips, ways back."""

from __future__ import annotations

import time

import pytest

from lifecycle.models import Beat
from lifecycle.systems.base import Permanent
from lifecycle.traffic.base import Split
from lifecycle.traffic.haproxy import HAProxy
from lifecycle.watchdog.state import Book
from tests.lifecycle.watchdog.pair import BLUE, GREEN, TENANT
from tests.lifecycle.watchdog.scene import Scene, until

pytestmark = pytest.mark.django_db(transaction=True)


def split(scene: Scene) -> Split:
    reader = HAProxy(socket_path=str(scene.edge.folder / "s"), maps=scene.edge.folder / "maps", default=BLUE)
    return reader.read(TENANT)


def test_a_second_watchdog_is_refused(scene: Scene) -> None:
    scene.begin()
    with pytest.raises(Permanent, match="Only one may"):
        Book(scene.edge.folder / "state")


def test_orders_are_followed_forth_and_back_without_losing_a_write(scene: Scene) -> None:
    scene.begin()
    with scene.load():
        for share in (10, 50, 100):
            scene.order(share=share)
            scene.done()
            assert split(scene) == Split(BLUE, GREEN, share)
        scene.ready()
        scene.order(owner=GREEN)
        there = scene.done()
        assert there.outcome["pause_ms"] < 100
        assert scene.pair.owners() == [GREEN]
        time.sleep(2.5)  # longer than a lease
        assert scene.pair.owners() == [GREEN]
        decided = time.monotonic()
        scene.order(share=0, owner=BLUE)
        scene.done()
        assert scene.pair.owners() == [BLUE]
        until(lambda: scene.seen[-1].at > decided + 1, 3)
    assert {each.status for each in scene.seen} <= {200, 201}
    assert scene.acknowledged() <= scene.pair.notes(BLUE)
    assert Beat.objects.get(name="watchdog").detail["moves"] == 1


def test_an_old_order_is_not_followed_after_a_trip_until_a_person_decides(scene: Scene) -> None:
    scene.begin()
    with scene.load():
        scene.cutover()
        scene.services[GREEN].fault = "errors"
        until(lambda: scene.now().latched, 10)
        scene.services[GREEN].fault = ""
        assert "health" in scene.now().latch_reason or "errors" in scene.now().latch_reason
        until(lambda: scene.pair.owners() == [BLUE], 5)
        scene.order(share=100)
        refused = until(lambda: (o := scene.now()).outcome.get("state") == "refused" and o, 5)
        assert split(scene) == Split(BLUE, GREEN, 0)
        assert refused.done_epoch < refused.epoch
        scene.order(share=25, owner=BLUE, latched=False, latch_reason="")
        scene.done()
        assert split(scene) == Split(BLUE, GREEN, 25)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("crash", marks=pytest.mark.chaos),
        "wrong",
        pytest.param("hang", marks=pytest.mark.chaos),
        pytest.param("errors", marks=pytest.mark.chaos),
    ],
)
def test_a_bad_green_that_owns_is_left_within_5_seconds_and_no_write_is_lost(
    scene: Scene, fault: str
) -> None:
    scene.begin()
    with scene.load():
        scene.cutover()
        time.sleep(1)
        at = time.monotonic()
        if fault == "crash":
            scene.services[GREEN].crash()
        else:
            scene.services[GREEN].fault = fault
        until(
            lambda: any(each.owner == BLUE and each.at > at for each in scene.seen),
            12,
            lambda: str(scene.reading()),
        )
        until(lambda: scene.seen[-1].at > at + 7, 12)
    assert scene.pair.owners() == [BLUE]
    assert scene.first_on_blue(at) <= 5
    assert scene.last_failure(at) <= 5
    assert scene.acknowledged() <= scene.pair.notes(BLUE)


@pytest.mark.chaos
def test_a_slow_green_is_left_within_15_seconds(scene: Scene) -> None:
    scene.begin()
    with scene.load():
        scene.ready()
        scene.order(share=50)
        scene.done()
        until(lambda: len(scene.seen) > 300, 15)
        time.sleep(12)  # what blue takes must be known
        at = time.monotonic()
        scene.services[GREEN].fault = "slow"
        until(lambda: scene.now().latched, 15, lambda: str(scene.reading()))
        assert time.monotonic() - at < 15
        assert split(scene).share == 0


def test_a_finished_move_leaves_no_split_and_no_lease(scene: Scene) -> None:
    scene.begin()
    scene.cutover()
    scene.order(closed=True)
    scene.done()
    assert split(scene) == Split(GREEN)
    scene.end()
    time.sleep(2.2)
    assert scene.pair.owners() == [GREEN]
