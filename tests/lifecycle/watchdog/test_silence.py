"""Silence is never health: nothing heard is held, then goes back; a quiet tenant is not silence."""

from __future__ import annotations

import time

import pytest

from lifecycle.models import Reading
from tests.lifecycle.traffic.edge import free_port
from tests.lifecycle.watchdog.scene import Scene, until

pytestmark = pytest.mark.django_db(transaction=True)


def test_without_a_word_from_the_load_balancer_it_is_held_and_then_goes_back(scene: Scene) -> None:
    scene.log_udp = free_port()
    scene.order(share=50, settings=scene.now().settings | {"gates": {"hold_s": 7}})
    scene.begin()
    with scene.load(rate=20):
        until(lambda: scene.now().latched, 20, scene.words)
    assert "log is missing" in scene.now().latch_reason
    readings = Reading.objects.filter(migration=scene.migration)
    # The latch is told at once, the reading within a second.
    until(lambda: readings.filter(data__verdict="trip").exists(), 10, scene.words)
    verdicts = [each.data["verdict"] for each in readings.order_by("id")]
    assert "hold" in verdicts and verdicts.index("hold") < verdicts.index("trip")


def test_a_tenant_that_asks_nothing_is_not_silent(scene: Scene) -> None:
    scene.order(share=50, settings=scene.now().settings | {"gates": {"hold_s": 5}})
    scene.begin()
    scene.ready()
    time.sleep(7)  # longer than silence is held
    assert not scene.now().latched, scene.words()
    assert scene.reading()["verdict"] == "ok"
