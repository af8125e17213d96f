"""The group of worker processes of one machine: started, watched, started again within a second.

A worker that dies frees its step at once through the one that replaces it. Children die with the supervisor
(`PR_SET_PDEATHSIG`), so that no orphan works on; a whole group that was killed is recovered by the next one's sweep.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import mmap
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from django.db import connections
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.scheduler import scheduler

from lifecycle.engine import leases, schedules, sweeper, worker

log = logging.getLogger(__name__)
PATROL_EVERY = 0.1
SWEEP_EVERY = 5.0
SCHEDULE_EVERY = 10.0
OVERDUE_GRACE = 5.0  # django-q2's own alarm comes first
ECHO = 2.0  # an end asked for again this soon came from the same wish, to the group and through the guardian
CRASH_PAUSE = 1.0  # before a place whose process lived for less than a second is filled again
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def _no_board() -> memoryview:
    return memoryview(mmap.mmap(-1, mmap.PAGESIZE))


@dataclass
class Place:
    """One child: a worker of a queue, or the clock (`queue` is None)."""

    name: str
    queue: str | None
    cells: memoryview = field(default_factory=_no_board)
    pid: int = 0
    tag: bytes = b""
    born: float = 0.0
    free_at: float = 0.0
    dead: tuple[bytes, int] | None = None

    @property
    def board(self) -> worker.Board:
        return worker.Board(self.cells)

    def overdue(self) -> bool:
        """True for a worker whose task outlasted its time and django-q2's alarm: it hangs in a call."""
        due = self.board.due
        return due > 0 and due + OVERDUE_GRACE < time.monotonic()


class Supervisor:
    """Keeps `workers[queue]` workers per queue and one clock alive until SIGTERM."""

    def __init__(self, workers: Mapping[str, int]) -> None:
        self._places = [Place("q-clock", None)]
        self._places += [
            Place(f"q-{queue}-{n}", queue) for queue, count in workers.items() for n in range(1, count + 1)
        ]
        self._queues = tuple(workers)
        self._asked = False
        self._asked_at = self._patience = 0.0

    def run(self) -> None:
        """Returns when every child has ended. A second signal some seconds later ends them at once."""
        signal.signal(signal.SIGTERM, self._ask)
        gc.freeze()  # pages that workers share with us stay shared
        log.info("Workers start for queues: %s.", ", ".join(self._queues))
        while not self._asked:
            self._patrol()
            time.sleep(PATROL_EVERY)
        self._end()

    def _ask(self, *_: object) -> None:
        now = time.monotonic()
        if not self._asked:
            self._asked, self._asked_at = True, now
            self._patience = now + (Conf.TIMEOUT or 90) + OVERDUE_GRACE
        elif now - self._asked_at > ECHO:
            self._patience = now

    def _patrol(self) -> None:
        self._reap()
        for place in self._places:
            if place.pid and place.overdue():
                log.error("%s (process %s) is overdue and is killed.", place.name, place.pid)
                place.board.due = 0.0
                os.kill(place.pid, signal.SIGKILL)
            elif not place.pid and time.monotonic() >= place.free_at:
                self._fill(place)

    def _reap(self) -> None:
        """Takes in every child that ended; as process 1 of a container also those that others left behind."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                for place in self._places:
                    if place.pid == pid:
                        self._mourn(place, os.waitstatus_to_exitcode(status))

    def _mourn(self, place: Place, code: int) -> None:
        now = time.monotonic()
        if code == 0 or self._asked:
            place.dead = None
        else:
            log.error("%s (process %s) ended with %s; another takes its place.", place.name, place.pid, code)
            place.dead = (place.tag, place.board.message)
        place.pid, place.free_at = 0, now + (CRASH_PAUSE if now - place.born < 1 else 0.0)

    def _fill(self, place: Place) -> None:
        place.tag, place.born = leases.new_tag(), time.monotonic()
        place.board.due, place.board.message = 0.0, 0
        connections.close_all()
        parent = os.getpid()
        place.pid = os.fork()
        if place.pid == 0:
            _live(place, parent, lambda: self._work(place))

    def _work(self, place: Place) -> None:
        if place.queue is None:
            keep_time(self._queues)
        else:
            worker.run(place.queue, place.tag, place.board, place.dead)

    def _end(self) -> None:
        """Asks all to end after their slice, which sees its time as over; kills what does not."""
        log.info("Workers end after the slice under way.")
        self._signal(signal.SIGTERM)
        while any(place.pid for place in self._places) and time.monotonic() < self._patience:
            self._reap()
            time.sleep(PATROL_EVERY)
        self._signal(signal.SIGKILL)
        for place in self._places:
            if place.pid:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(place.pid, 0)

    def _signal(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(place.pid, number)


def guard(work: Callable[[], None]) -> None:
    """Does `work()` in a child and does it again when the child is killed. Returns once it ended itself.

    SIGTERM and SIGINT are passed on. Should the guardian itself be killed, everything below it dies too.
    """
    place = Place("q-sentinel", None)
    asked: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        asked.append(number)
        if place.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(place.pid, signal.SIGTERM)

    parent = os.getpid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    while not asked:
        place.born = time.monotonic()
        connections.close_all()
        place.pid = os.fork()
        if place.pid == 0:
            _live(place, parent, work)
        code = _await(place.pid)
        if asked or code == 0:
            break
        log.error("The supervisor (process %s) ended with %s and is started again.", place.pid, code)
        if time.monotonic() - place.born < 1:
            time.sleep(CRASH_PAUSE)


def _await(pid: int) -> int:
    """The exit code of a child. As process 1 of a container it also takes in what a killed supervisor left."""
    while (ended := os.waitpid(-1, 0))[0] != pid:
        continue
    return os.waitstatus_to_exitcode(ended[1])


def _live(place: Place, parent: int, work: Callable[[], None]) -> None:
    """The life of a child; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _die_with(parent)
        _prctl(_PR_SET_NAME, place.name.encode()[:15])
        random.seed()  # else all children draw the same jitter
        work()
        code = 0
    except Exception as error:
        log.error("%s ended: %s", place.name, type(error).__name__)
    finally:
        logging.shutdown()
        os._exit(code)


def _die_with(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew our wish
        os._exit(1)


def _prctl(option: int, value: int | bytes) -> None:
    """Linux only; elsewhere children are told to end by the supervisor alone."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def keep_time(queues: tuple[str, ...]) -> None:
    """The clock: sweeps at once and every five seconds, and lets django-q2's scheduler run for each queue."""
    swept = scheduled = float("-inf")
    ready = False
    while True:
        now = time.monotonic()
        try:
            if not ready:
                schedules.ensure_schedules()
                ready = True
            if now - swept >= SWEEP_EVERY:
                sweeper.sweep()
                swept = now
            if now - scheduled >= SCHEDULE_EVERY:
                for queue in queues:
                    Conf.CLUSTER_NAME = queue  # the scheduler looks there for whose schedules to serve
                    scheduler(broker=get_broker(queue))
                scheduled = now
        except Exception as error:
            log.warning("The clock could not do its round (%s). Trying again.", type(error).__name__)
            connections.close_all()
            swept = now  # so that workers can beat before anything of theirs is taken for dead
        time.sleep(1)
