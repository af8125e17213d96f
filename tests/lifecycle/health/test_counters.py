"""Where a load balancer counts no tenant: what the application's counters rose by, from real Prometheus servers."""

from __future__ import annotations

import secrets
import time
from typing import Any

import pytest

from lifecycle.health.counters import Counters
from lifecycle.health.meter import Meter, Window
from lifecycle.systems.base import Transient
from tests.lifecycle.health.counting import Application, names
from tests.lifecycle.traffic.edge import BLUE, GREEN, free_port


class Scene:
    """Both regions' applications, a meter, and who asks Prometheus for it."""

    def __init__(self, stack: dict[str, Any], **places: str) -> None:
        self.meter, named = Meter(), names()
        self.tenant = f"t.{secrets.token_hex(4)}"
        where = {region: stack["regions"][region]["prometheus"] for region in (BLUE, GREEN)}
        self.apps = {each: Application(where[each], each, self.tenant, named) for each in where}
        self.counters = Counters(self.meter, where | places, named)
        self.counters.tend({self.tenant: (BLUE, GREEN)})

    def window(self, region: str) -> Window:
        return self.meter.window(self.tenant, region, 60, time.monotonic())

    def scraped(self) -> None:
        for each in self.apps.values():
            each.scraped()


def test_a_dead_prometheus_of_either_region_is_silence(stack: dict[str, Any]) -> None:
    for dead, alive in ((BLUE, GREEN), (GREEN, BLUE)):
        scene = Scene(stack, **{dead: f"http://127.0.0.1:{free_port()}"})
        scene.scraped()
        scene.counters.look(alive)
        with pytest.raises(Transient, match="does not answer"):
            scene.counters.look(dead)
        assert scene.meter.heard(scene.tenant) is None


def test_an_application_that_is_not_scraped_is_silence_and_a_quiet_tenant_is_not(
    stack: dict[str, Any],
) -> None:
    scene = Scene(stack)
    for region in (BLUE, GREEN):
        scene.counters.look(region)
    assert scene.meter.heard(scene.tenant) is None
    scene.scraped()
    began = time.monotonic()
    for region in (BLUE, GREEN):
        scene.counters.look(region)
    heard = scene.meter.heard(scene.tenant)
    assert heard is not None and heard > began - 5
    assert scene.window(GREEN).count == 0


def test_only_what_rose_is_counted_reads_and_writes_apart(stack: dict[str, Any]) -> None:
    scene = Scene(stack)
    for app in scene.apps.values():
        app.serve("read", 100)  # before anybody watched
    scene.scraped()
    for region in (BLUE, GREEN):
        scene.counters.look(region)
        assert scene.window(region) == Window(0, 0, [], [])
    for app in scene.apps.values():
        app.serve("read", 10, le="0.1", low=4)
        app.serve("write", 3, status="503")
    scene.scraped()
    for region in (BLUE, GREEN):
        scene.counters.look(region)
        scene.counters.look(region)  # nothing rose meanwhile
    # Blue's times are the upper ends of the buckets, green's the lower ones.
    assert scene.window(BLUE) == Window(13, 3, [100] * 4 + [1000] * 6, [1000] * 3)
    assert scene.window(GREEN) == Window(13, 3, [0] * 4 + [100] * 6, [0] * 3)


def test_a_process_that_began_anew_is_counted_from_0(stack: dict[str, Any]) -> None:
    scene = Scene(stack)
    app = scene.apps[GREEN]
    app.serve("read", 100)
    app.scraped()
    scene.counters.look(GREEN)
    app.counts, app.buckets = {}, {}
    app.serve("read", 5)
    app.scraped()
    scene.counters.look(GREEN)
    assert scene.window(GREEN).count == 5
