"""A hold in the middle of an erasure: once `hold place` has returned, the S3 server's own log shows no deletion in scope."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from demo.stack import control
from demo.stack.place import CHECKOUT
from tests.lifecycle.trials.live import Live
from tests.lifecycle.trials.scene import SERVER, Scene

STRETCH = 3.6  # with what a request itself takes, a batch of about four seconds
SLOW = 2.0  # the eraser's eight requests of 60 keys are on their way, and no others
# A server stopped inside a deletion may end the key that it had begun, one per open request (docs/threat-model.md).
BEGUN_AT_MOST = 8
_END_LOCK_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND pid <> pg_backend_pid()
"""


@dataclass
class Placed:
    """A hold and what came after: seconds from its commit until it was certain, and the server's lines from then on."""

    id: str
    seconds: float
    command: float  # seconds of the whole command, Python's start and the wait for preserving included
    late: list[dict[str, Any]]


@contextmanager
def _nothing(_scene: Scene) -> Iterator[None]:
    yield


@contextmanager
def _stopped_worker(scene: Scene) -> Iterator[None]:
    group = scene.live.workers[-1].pid
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


@contextmanager
def _stopped_server(scene: Scene) -> Iterator[None]:
    control.signal_server(scene.live.run_dir, SERVER, signal.SIGSTOP)
    try:
        yield
    finally:
        control.signal_server(scene.live.run_dir, SERVER, signal.SIGCONT)


@contextmanager
def _ended_sessions(scene: Scene) -> Iterator[None]:
    over = threading.Event()

    def end() -> None:
        while not over.wait(0.05):
            scene.sql(_END_LOCK_SESSIONS)

    thread = threading.Thread(target=end)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


TROUBLES = {
    "none": _nothing,
    "worker stopped": _stopped_worker,
    "sessions ended": _ended_sessions,
    "server stopped": _stopped_server,
}


# The command line with its imports done, so that the hold falls at the moment that was drawn.
_READY = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
import django
from django.core.management import execute_from_command_line
django.setup()
print("ready", flush=True)
sys.stdin.readline()
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


def command(scene: Scene, whole: bool) -> subprocess.Popen[str]:
    """`hold place` in a process of its own that waits for a line."""
    scope = ["--tenant", scene.tenant, *([] if whole else ["--user", scene.user])]
    words = [*scope, "--case", "trial", "--type", "litigation", "--as", "legal", "--json"]
    return subprocess.Popen(
        [sys.executable, "-c", _READY, "hold", "place", *words],
        cwd=CHECKOUT, env=scene.live.env(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_ready(ready: subprocess.Popen[str]) -> None:
    """Returns once its imports are done."""
    assert ready.stdout is not None
    while (line := ready.stdout.readline()) != "ready\n":
        assert line, ready.communicate()[1]


def place(
    scene: Scene, ready: subprocess.Popen[str], chance: random.Random, trouble: str, delay: float
) -> Placed:
    """Places a hold at a random moment of the erasing, under the trouble, and watches until everything has come to rest."""
    scene.relay.deleting.clear()
    scene.until(scene.relay.deleting.is_set, "a deletion")
    time.sleep(chance.uniform(0, delay))
    began = time.time()
    with TROUBLES[trouble](scene):
        out, err = ready.communicate("now\n", timeout=60)
        returned = time.time()
    assert ready.returncode == 0, err
    hold = str(json.loads(out)["id"])
    committed, certain = scene.audited(hold, "hold.placed"), scene.audited(hold, "hold.in_force")
    assert began <= committed <= certain <= returned
    if scene.live.environment.get("FENCE_ENABLED") != "0":
        scene.until(lambda: scene.state() == "blocked_by_hold", "the request is stopped", 60)
    else:
        scene.until(lambda: bool(scene.deletions(certain)), "a late deletion", 30)
    scene.until(lambda: scene.relay.kept_back == 0, "what the relay keeps back", 20)
    late = scene.deletions(certain)
    if trouble == "server stopped":
        begun = [each for each in late if each["began"] < began]
        assert len(begun) <= BEGUN_AT_MOST, begun
        late = [each for each in late if each not in begun]
    return Placed(hold, certain - committed, returned - began, late)


def say(text: str) -> None:
    """For `pytest -s` and failures: what happened when."""
    print(f"{time.strftime('%H:%M:%S')} {text}")


def release(scene: Scene, hold: str) -> None:
    """By two people."""
    for person, state in (("legal", "release_requested"), ("legal2", "released")):
        found = scene.live.ask("hold", "release", hold, "--reason", "settled", "--as", person)
        assert found["state"] == state


def _trial(live: Live, chance: random.Random, holds: list[tuple[str, float]], objects: int) -> None:
    scene = Scene(live, holds[0][1], objects)
    ready = command(scene, whole=chance.random() < 0.5)
    wait_ready(ready)
    live.start_workers()
    say("workers started")
    for number, (trouble, delay) in enumerate(holds, start=1):
        placed = place(scene, ready, chance, trouble, delay)
        say(f"{trouble}, {delay:.1f}: in force after {placed.seconds:.2f} s, command {placed.command:.2f} s")
        assert placed.late == [], (trouble, delay, len(placed.late))
        assert placed.seconds <= 10, (trouble, delay, placed.seconds)
        gone = {each["key"] for each in scene.deletions(0)}
        assert len(gone) < objects, "the hold fell after the erasing"
        say(f"{len(gone)} gone")
        if number < len(holds):
            scene.relay.delay = holds[number][1]
            ready = command(scene, whole=chance.random() < 0.5)
            wait_ready(ready)
        else:
            scene.relay.delay = 0
        release(scene, placed.id)
        say("released")
    scene.until(lambda: scene.state() in ("completed", "failed"), "the end", 150)
    say("ended")
    done = live.status(scene.request)
    assert done["state"] == "completed", done
    line = done["systems"]["s3"]
    assert line["found"] == line["erased"] >= objects, line
    assert line["residue"] == 0
    scene.relay.close()


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_nothing_is_deleted_once_a_hold_is_placed(live: Live) -> None:
    chance = random.Random(os.environ.get("SEED", "14"))
    _trial(live, chance, [("none", STRETCH), ("worker stopped", SLOW)], objects=1040)


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_with_the_fence_off_the_trial_finds_late_deletions(live: Live) -> None:
    live.environment["FENCE_ENABLED"] = "0"
    scene = Scene(live, SLOW, objects=560)
    ready = command(scene, whole=False)
    wait_ready(ready)
    live.start_workers()
    placed = place(scene, ready, random.Random(1), "worker stopped", SLOW)
    say(f"{len(placed.late)} late")
    assert placed.late, "without its fence a worker that wakes goes on deleting; this trial must see it"
    scene.relay.close()


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(50))
def test_a_hundred_holds_at_random_moments(live: Live, seed: int) -> None:
    chance = random.Random(seed)
    troubles = list(TROUBLES)
    holds = [(troubles[seed % 4], STRETCH), (chance.choice(troubles), chance.uniform(1.0, 2.5))]
    _trial(live, chance, holds, objects=1400)
