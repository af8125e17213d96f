"""The moment of a hold: when it falls, under which trouble, and what the servers show after it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from demo.stack import control
from lifecycle.systems.s3.eraser import MOST_KEYS, THREADS
from tests.lifecycle.trials.live import Live
from tests.lifecycle.trials.scene import SERVER, Scene

# A server stopped inside deletions ends the requests that it had begun: so many, of so many keys (docs/threat-model.md).
BEGUN_AT_MOST, KEYS = THREADS, MOST_KEYS
LATEST = 4.0  # seconds after the erasure went on within which a hold falls anywhere
_END_LOCK_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Moment:
    """`delay` is how long the relay keeps each deletion back; `inside` a deletion, or anywhere in the erasure."""

    trouble: str
    delay: float
    inside: bool = True

    @property
    def kind(self) -> str:
        """What it counts as."""
        where = (
            f"in a batch of {'four seconds' if self.delay > 3 else 'any length'}"
            if self.inside
            else "anywhere"
        )
        return f"{where}, {self.trouble}"

    def __str__(self) -> str:
        return f"{self.kind} ({self.delay:.1f} s)"


@dataclass(frozen=True)
class Placed:
    """A hold and what came after: seconds from its commit until it was certain, and what each server showed from then on."""

    hold: str
    seconds: float
    command: float  # seconds of the whole command, the wait for preserving included
    late: list[dict[str, Any]]  # lines of the S3 server's log
    lost: dict[
        str, set[str]
    ]  # by system, what was there when it was certain and gone when all had come to rest
    running: bool  # whether the erasure was still under way
    fell_on: str  # the steps that it met
    begun: int  # keys that a server ended after the hold, in requests that it had begun when it was stopped before it


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


def place(scene: Scene, chance: random.Random, moment: Moment, *, whole: bool) -> Placed:
    """Places a hold at a random moment of the erasing, under the trouble, and watches until everything has come to rest."""
    fenced = scene.live.environment.get("FENCE_ENABLED") != "0"
    if moment.inside:
        scene.relay.deleting.clear()
        scene.until(scene.relay.deleting.is_set, "a deletion", 300)
    time.sleep(chance.uniform(0, moment.delay if moment.inside else LATEST))
    running, fell_on = scene.state() not in ("certifying", "completed", "failed"), scene.steps()
    scope = ["--tenant", scene.tenant, *([] if whole else ["--user", scene.user])]
    words = ["--case", "trial", "--type", "litigation", "--as", "legal"]
    began = time.time()
    with TROUBLES[moment.trouble](scene):
        answer = scene.live.ask("hold", "place", *scope, *words)
        returned = time.time()
        there = scene.present()
    hold = str(answer["id"])
    committed, certain = scene.audited(hold, "hold.placed"), scene.audited(hold, "hold.in_force")
    assert began <= committed <= certain <= returned
    if fenced:
        scene.until(lambda: scene.state() == "blocked_by_hold", "the request is stopped", 60)
    else:
        scene.until(lambda: bool(scene.deletions(certain)), "a late deletion", 30)
    scene.until(lambda: scene.relay.kept_back == 0, "what the relay keeps back", 20)
    late, begun = scene.deletions(certain), []
    if moment.trouble == "server stopped":
        begun = [each for each in late if each["began"] < began]
        keys = Counter(each["request_id"] for each in begun)
        assert len(keys) <= BEGUN_AT_MOST and max(keys.values(), default=0) <= KEYS, keys
        late = [each for each in late if each not in begun]
    now = scene.present()
    lost = {system: gone for system, known in there.items() if (gone := known - now[system])}
    return Placed(hold, certain - committed, returned - began, late, lost, running, fell_on, len(begun))


def release(live: Live, hold: str) -> None:
    """By two people."""
    for person, state in (("legal", "release_requested"), ("legal2", "released")):
        found = live.ask("hold", "release", hold, "--reason", "settled", "--as", person)
        assert found["state"] == state


def say(text: str) -> None:
    """For `pytest -s` and failures: what happened when."""
    print(f"{time.strftime('%H:%M:%S')} {text}")
