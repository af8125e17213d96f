"""How quickly traffic leaves a green that is given up: by an order, by the watchdog when green fails, and by Flagger's loop.

HAProxy, both regions' databases with their streams, and the watchdog's process are real; the application is small
(tests/lifecycle/watchdog/service.py).
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.report import Result
from lifecycle.traffic.base import Split
from lifecycle.traffic.haproxy import HAProxy
from tests.lifecycle.watchdog.pair import BLUE, GREEN, TENANT, Pair, made
from tests.lifecycle.watchdog.scene import Scene, playing, until

ORDERS, FAULTS = 8, 3
FAST, RATE = 150.0, 20.0  # requests a second: to see the last one on green, and under a fault
# Flagger's defaults: a look each minute; one failed look is enough, which a later look finds (docs/benchmarks.md).
INTERVAL, THRESHOLD, SUCCESS = 60.0, 1, 99.0
FAULT = "failing"  # 5xx by a service whose health check is well: a bad version of it
_WITHIN = 30.0
_UNDER_WAY = 2.0  # seconds after which nothing is under way that began before (the load balancer's limit)


def run(stack: dict[str, Any], say: Callable[[str], None]) -> list[Result]:
    """The measures of going back; takes three minutes, of which Flagger's loop takes two."""
    with made(stack) as pair:
        decided = decisions(pair)
        ours = sorted(fault(pair) for _ in range(FAULTS))
        other = flagger(pair)
    say(
        f"going back: decision to last request on green {_row(decided, 1000)} ms; 5xx of a green that owns to the first "
        f"write on blue {_row(ours)} s; Flagger's loop once, fault midway between two looks: {other:.1f} s"
    )
    median = ours[len(ours) // 2]
    return [
        Result("move: decision to blue", "ms", round(decided[len(decided) // 2] * 1000, 1), goal=50.0),
        Result("move: fault to blue", "s", round(median, 2), goal=5.0),
        Result.of_times("move: fault to blue, Flagger", "s", median, other, "Flagger's defaults", 1.0),
    ]


def decisions(pair: Pair) -> list[float]:
    """Seconds from before a rollback is ordered to the last request that reached green, in order; 0: none came."""
    found = []
    with _scene(pair) as scene:
        scene.begin()
        scene.ready()
        green = scene.services[GREEN]
        with scene.load(FAST):
            for _ in range(ORDERS):
                # Not watched: a busy machine must not make the watchdog decide before us.
                scene.order(share=100, watched=False)
                scene.done()
                now = time.monotonic()
                until(lambda: green.reached > now + 0.5, _WITHIN, scene.words)  # noqa: B023 - called at once
                at = time.monotonic()
                scene.order(share=0)
                scene.done()
                time.sleep(0.6)
                found.append(max(0.0, green.reached - at))
    return sorted(found)


def fault(pair: Pair) -> float:
    """Seconds from green's first 5xx, once it owns the writes, to the first write that blue acknowledged."""
    with _scene(pair) as scene:
        scene.begin()
        with scene.load(RATE):
            scene.cutover()
            time.sleep(1 + random.random())
            return _first_on_blue(scene, _WITHIN)


def flagger(pair: Pair) -> float:
    """The same with all traffic on green and Flagger's loop in the watchdog's place. Blue owns the writes throughout,
    so that the loop has only weights to change."""
    with _scene(pair) as scene:
        traffic = scene.edge.traffic
        try:
            traffic.apply(TENANT, Split(BLUE, GREEN, 100))
            with scene.load(RATE):
                began = time.monotonic()
                seen, failed = _counts(traffic), 0
                time.sleep(INTERVAL / 2)
                at = time.monotonic()
                scene.services[GREEN].fault = FAULT
                for look in range(1, 7):
                    time.sleep(max(0.0, began + look * INTERVAL - time.monotonic()))
                    if failed >= THRESHOLD:
                        traffic.apply(TENANT, Split(BLUE, GREEN, 0))
                        break
                    before, seen = seen, _counts(traffic)
                    asked, bad = (now - then for now, then in zip(seen, before, strict=True))
                    failed += 100 * (asked - bad) / max(1, asked) < SUCCESS
                # What green had forwarded to blue by then is no write of the way back.
                until(lambda: _blue_wrote(scene, at + _UNDER_WAY), _WITHIN)
                return scene.first_on_blue(at + _UNDER_WAY) + _UNDER_WAY
        finally:
            traffic.apply(TENANT, Split(BLUE))
            traffic.close()


def _counts(traffic: HAProxy) -> tuple[int, int]:
    count = traffic.counters()[TENANT, GREEN]
    return count.requests, count.failed


def _first_on_blue(scene: Scene, within: float) -> float:
    at = time.monotonic()
    scene.services[GREEN].fault = FAULT
    until(lambda: _blue_wrote(scene, at), within, scene.words)
    return scene.first_on_blue(at)


def _blue_wrote(scene: Scene, since: float) -> bool:
    return any(each.owner == BLUE and each.at > since for each in scene.seen)


@contextmanager
def _scene(pair: Pair) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory() as folder, playing(pair, Path(folder)) as scene:
        yield scene


def _row(values: list[float], factor: float = 1) -> str:
    return ", ".join(f"{factor * each:.1f}" for each in values)
