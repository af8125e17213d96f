"""A whole watchdog beside an AWS load balancer (moto) and real Prometheus servers."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.stack import control
from lifecycle.traffic.alb import ALB
from lifecycle.traffic.base import Split
from lifecycle.watchdog.__main__ import main
from tests.lifecycle.health.counting import Application, names
from tests.lifecycle.traffic.amazon import made
from tests.lifecycle.watchdog.pair import BLUE, GREEN, TENANT
from tests.lifecycle.watchdog.scene import Scene, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ["TRAFFIC_ALB_GROUPS names no two", "TRAFFIC_ALB_REGION is not set"]),
        ({"TRAFFIC_ALB_GROUPS": f"{BLUE}=a,{GREEN}=b"}, [f"names no address for {BLUE}, {GREEN}"]),
        ({"TRAFFIC_SOCKET": "/s"}, ["are both set"]),
    ],
)
def test_without_its_settings_it_does_not_start(
    given: dict[str, str],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"TRAFFIC_ALB_LISTENER": "arn:aws:x", **given}.items():
        monkeypatch.setenv(name, value)
    assert main() == 2
    told = capsys.readouterr().err
    assert all(each in told for each in said), told


@contextmanager
def serving(apps: dict[str, Application], failing: threading.Event) -> Iterator[None]:
    """Both regions serve and are scraped twice a second; green fails each request once it is said."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.5):
            for region, app in apps.items():
                bad = region == GREEN and failing.is_set()
                app.serve("read", 20, status="500" if bad else "200", le="0.05", low=20)
                app.scraped()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_it_writes_weights_holds_on_silence_and_goes_back_on_what_prometheus_counts(
    scene: Scene, stack: dict[str, Any], stack_dir: Path
) -> None:
    """Ownership also while AWS does not answer; the weights follow once it does."""
    elb, listener, groups = made(stack)
    named = names()
    where = {region: stack["regions"][region]["prometheus"] for region in (BLUE, GREEN)}
    scene.traffic = {
        "TRAFFIC_SOCKET": "",
        "TRAFFIC_ALB_LISTENER": listener,
        "TRAFFIC_ALB_GROUPS": ",".join(f"{region}={arn}" for region, arn in groups.items()),
        "TRAFFIC_ALB_REGION": BLUE,
        "TRAFFIC_ALB_ENDPOINT": stack["regions"][BLUE]["logs"]["endpoint"],
        "TRAFFIC_PROMETHEUS": ",".join(f"{region}={address}" for region, address in where.items()),
        "TRAFFIC_METRIC_REQUESTS": named.requests,
        "TRAFFIC_METRIC_SECONDS": named.seconds,
        "TRAFFIC_METRIC_ALIVE": named.alive,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    alb = ALB(listener=listener, groups=groups, default=BLUE, client=elb)
    apps = {region: Application(where[region], region, TENANT, named) for region in where}
    failing = threading.Event()
    scene.order(share=50, settings=scene.now().settings | {"gates": {"hold_s": 120}})
    scene.begin()
    until(lambda: alb.read(TENANT) == Split(BLUE, GREEN, 50), 15, scene.words)
    until(
        lambda: "counters in Prometheus is missing" in str(scene.reading().get("gates")),
        30,
        lambda: str(scene.reading()),
    )
    assert scene.reading()["verdict"] == "hold"
    with serving(apps, failing):
        until(lambda: scene.reading().get("verdict") == "ok", 30, lambda: str(scene.reading()))
        until(lambda: scene.reading()["green"]["rps"] > 0, 20, lambda: str(scene.reading()))
        scene.order(share=100)
        scene.order(owner=GREEN)
        scene.done(30)
        assert scene.pair.owners() == [GREEN]
        control.signal_server(stack_dir, "logs", signal.SIGSTOP)  # AWS answers nobody
        try:
            failing.set()
            until(lambda: scene.pair.owners() == [BLUE], 40, scene.words)
        finally:
            control.signal_server(stack_dir, "logs", signal.SIGCONT)
        # Which of the two it says depends on where in its look the silence began.
        assert re.search(
            "Weights can't be changed until that ends|The owner goes back all the same", scene.words()
        )
        until(lambda: alb.read(TENANT) == Split(BLUE, GREEN, 0), 20, scene.words)
    until(lambda: scene.now().latched, 15, lambda: str(scene.reading()))
    assert scene.now().latch_reason.startswith("errors")
    scene.order(share=0, owner=BLUE, latched=False, latch_reason="", closed=True)
    scene.done(20)
    assert alb.read(TENANT) == Split(BLUE)
