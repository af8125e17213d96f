"""From a decision in the control database to weights in force: milliseconds, not a poll's period."""

from __future__ import annotations

import time

import pytest

from lifecycle.traffic.haproxy import HAProxy
from tests.lifecycle.watchdog.pair import BLUE, TENANT
from tests.lifecycle.watchdog.scene import Scene, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.chaos  # a limit in milliseconds says nothing on a busy machine
def test_a_decision_is_in_force_within_50_ms(scene: Scene) -> None:
    scene.begin()
    traffic = HAProxy(socket_path=str(scene.edge.folder / "s"), maps=scene.edge.folder / "maps", default=BLUE)
    spent = []
    for turn in range(12):
        share = 100 if turn % 2 == 0 else 0
        scene.order(share=share)
        began = time.monotonic()
        while traffic.read(TENANT).share != share:
            assert time.monotonic() - began < 5
            time.sleep(0.001)
        spent.append(time.monotonic() - began)
        until(lambda: scene.now().done_epoch == scene.now().epoch, 5, scene.words)
    print(f"milliseconds to weights in force: {[round(each * 1000) for each in sorted(spent)]}")
    assert sorted(spent)[len(spent) // 2] < 0.05
