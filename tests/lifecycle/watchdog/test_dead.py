"""What the watchdog does when whole parts are stopped, dead or unreachable, itself included."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.db import connection

from demo.stack import control
from tests.lifecycle.watchdog.pair import BLUE, GREEN, TENANT
from tests.lifecycle.watchdog.scene import Scene, until

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def stopped(stack: dict[str, Any]) -> Iterator[None]:
    """Every process of green's database is stopped, as when its machine is."""
    everyone = family(int(stack["servers"][f"postgres-{GREEN}"]["pid"]))
    for pid in everyone:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in everyone:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def family(main: int) -> list[int]:
    """A process and its children: a database's main process and its sessions."""
    found = [main]
    for each in Path("/proc").iterdir():
        with suppress(OSError):
            if each.name.isdigit() and f"\nPPid:\t{main}\n" in (each / "status").read_text():
                found.append(int(each.name))
    return found


class Way:
    """A way to a server that can be closed: a forwarding port."""

    def __init__(self, port: int) -> None:
        self._target, self._open = port, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                other = socket.create_connection(("127.0.0.1", self._target))
                self._open += [one, other]
                for a, b in ((one, other), (other, one)):
                    threading.Thread(target=self._carry, args=(a, b), daemon=True).start()

    @staticmethod
    def _carry(a: socket.socket, b: socket.socket) -> None:
        with suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
        for each in (a, b):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def returned(scene: Scene, at: float) -> None:
    """Blue owns within 5 s, and what was acknowledged is there."""
    until(lambda: any(each.owner == BLUE and each.at > at for each in scene.seen), 12, scene.words)
    assert scene.first_on_blue(at) <= 5, scene.words()


def test_a_stopped_green_is_taken_over_and_acknowledges_nothing_when_it_wakes(
    scene: Scene, stack: dict[str, Any]
) -> None:
    scene.begin()
    with scene.load(), closing(psycopg2.connect(scene.pair.dsn[GREEN])) as late:
        scene.cutover()
        time.sleep(0.5)
        with late.cursor() as cursor:
            cursor.execute("SELECT lifecycle.begin_write(%s)", [TENANT])
            cursor.execute("INSERT INTO notes (tenant_id, id) VALUES (%s, 'late')", [TENANT])
            scene.services[GREEN].fault = "hang"
            with stopped(stack):
                at = time.monotonic()
                returned(scene, at)
                over = time.monotonic()
                time.sleep(1)
            scene.services[GREEN].fault = ""
            scene.services[GREEN].woken.set()
            with pytest.raises(psycopg2.Error):
                late.commit()
        until(lambda: scene.pair.ask(GREEN, "SELECT owner FROM lifecycle.route") == [(BLUE,)], 8, scene.words)
        time.sleep(1)
    assert not [each for each in scene.seen if each.owner == GREEN and each.at > over]
    assert scene.pair.owners() == [BLUE]
    lost = scene.acknowledged() - scene.pair.notes(BLUE)
    assert len(lost) <= 3, "more than what was on the way in that moment"
    assert "late" not in scene.pair.notes(BLUE)


def test_a_database_that_takes_no_new_sessions_is_left_before_the_flip(
    scene: Scene, stack: dict[str, Any]
) -> None:
    """Its main process hangs and whoever is connected is served: an application whose pool runs dry hangs with it."""
    scene.begin()
    with scene.load():
        scene.ready()
        scene.order(share=100)
        scene.done()
        at, main = time.monotonic(), int(stack["servers"][f"postgres-{GREEN}"]["pid"])
        os.kill(main, signal.SIGSTOP)
        try:
            until(lambda: scene.now().latched, 15, scene.words)
            took = time.monotonic() - at
        finally:
            os.kill(main, signal.SIGCONT)
    assert took <= 5, scene.words()
    assert scene.now().latch_reason.startswith(("database", "errors", "health"))
    assert scene.pair.owners() == [BLUE]
    assert scene.acknowledged() <= scene.pair.notes(BLUE)


def test_a_dead_database_is_left_within_5_seconds(scene: Scene, stack_dir: Path) -> None:
    scene.begin()
    with scene.load():
        scene.cutover()
        time.sleep(0.5)
        at = time.monotonic()
        try:
            control.stop(stack_dir, f"postgres-{GREEN}")
            returned(scene, at)
        finally:
            control.start(stack_dir, f"postgres-{GREEN}")
        until(lambda: scene.pair.ask(GREEN, "SELECT owner FROM lifecycle.route") == [(BLUE,)], 8, scene.words)
    assert scene.pair.owners() == [BLUE]


def test_with_the_control_database_gone_it_still_goes_back_and_tells_later(scene: Scene) -> None:
    settings = connection.settings_dict
    way = Way(int(settings["PORT"]))
    scene.control = (
        f"postgresql://{settings['USER']}:{settings['PASSWORD']}@127.0.0.1:{way.port}/{settings['NAME']}"
    )
    scene.begin()
    with scene.load():
        scene.cutover()
        way.close()
        scene.services[GREEN].fault = "errors"
        at = time.monotonic()
        returned(scene, at)
        assert not scene.now().latched
    scene.end(signal.SIGKILL)
    scene.control = ""
    scene.services[GREEN].fault = ""
    scene.begin()
    until(lambda: scene.now().latched, 10, scene.words)
    assert scene.pair.owners() == [BLUE]
    assert scene.acknowledged() <= scene.pair.notes(BLUE)


def test_killed_while_green_owns_it_is_back_within_5_seconds_and_no_write_is_lost(scene: Scene) -> None:
    scene.begin()
    with scene.load():
        scene.cutover()
        time.sleep(0.5)
        at = time.monotonic()
        scene.end(signal.SIGKILL)
        scene.begin()
        until(lambda: any(each.owner == GREEN and each.at > at + 2 for each in scene.seen), 10, scene.words)
        writes = sorted(each.at for each in scene.seen if each.owner and each.at > at - 0.5)
        assert max(b - a for a, b in itertools.pairwise(writes)) < 5
        scene.order(owner=BLUE, share=0)
        scene.done()
    assert scene.acknowledged() <= scene.pair.notes(BLUE)


@pytest.mark.chaos
def test_killed_in_the_middle_of_flips_it_finishes_them(scene: Scene) -> None:
    # A slow machine must not turn what failed while nobody watched into a trip: that is another trial.
    scene.order(settings=scene.now().settings | {"gates": {"least_errors": 10**6, "failures": 10**6}})
    scene.begin()
    with scene.load():
        scene.cutover()
        for turn in range(3):
            wanted = BLUE if turn % 2 == 0 else GREEN
            scene.ready()
            scene.order(owner=wanted, share=100)
            time.sleep(0.02 * turn)
            scene.end(signal.SIGKILL)
            assert len(scene.pair.owners()) <= 1
            scene.begin()
            scene.done()
            assert scene.pair.owners() == [wanted]
    assert scene.acknowledged() <= scene.pair.notes(BLUE)
