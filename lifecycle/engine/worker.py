"""One worker process: django-q2's own work loop, fed straight from the broker.

django-q2 hands tasks from one pusher to its workers, and results to one monitor, through queues with a shared lock:
a process killed while it holds the lock stalls all others, tasks wait behind a busy worker, and results get lost
(field notes: upstream issues #23, #327, #339). Here each worker pulls its next task itself, and saves and acknowledges
its result itself. Nothing is shared, so a kill takes only the one task with it, and that is delivered again.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError, connections
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.monitor import save_task
from django_q.signals import post_execute
from django_q.signing import BadSignature, SignedPackage
from django_q.worker import worker as work_loop

from lifecycle.engine import context, leases, sweeper
from lifecycle.engine.queue import InTurn

log = logging.getLogger(__name__)
STOP = "STOP"  # what django-q2's loop takes as its end


class Board:
    """Eight bytes each that the supervisor can read after a kill: when the task must end, which message it was."""

    def __init__(self, cells: memoryview) -> None:
        self._due, self._message = cells[:8].cast("d"), cells[8:16].cast("q")

    @property
    def due(self) -> float:
        """Monotonic time at which the task must have ended; 0 while idle."""
        return float(self._due[0])

    @due.setter
    def due(self, moment: float) -> None:
        self._due[0] = moment

    @property
    def message(self) -> int:
        """The broker's number of the message in hand; 0 for none."""
        return int(self._message[0])

    @message.setter
    def message(self, number: int) -> None:
        self._message[0] = number


class Timer:
    """The shared value that django-q2's loop sets: seconds allowed while busy, -1 idle, 0 overdue, -2 recycled."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._value = -1.0

    @property
    def value(self) -> float:
        return self._value

    @value.setter
    def value(self, seconds: float) -> None:
        self._value = seconds
        self._board.due = time.monotonic() + seconds if seconds > 0 else 0.0

    def get_lock(self) -> contextlib.AbstractContextManager[None]:
        """Nobody else writes it."""
        return contextlib.nullcontext()


class Inbox:
    """Where the loop gets its next task: straight from the broker."""

    def __init__(self, queue: str, board: Board) -> None:
        self._broker, self._board = InTurn(queue), board

    def get(self) -> Any:
        """The next task, or STOP once this process was asked to end. Waits; a database that is away is waited for."""
        while not context.stopping():
            try:
                for message, package in self._broker.dequeue() or ():
                    self._board.message = message
                    if (task := self._open(message, package)) is not None:
                        return task
            except DatabaseError as error:
                log.warning("The task queue does not answer (%s). Trying again.", type(error).__name__)
                connections.close_all()
                time.sleep(1)
        return STOP

    def _open(self, message: int, package: str) -> Any:
        try:
            task = SignedPackage.loads(package)
        except (TypeError, BadSignature):
            log.error("Message %s is not signed by us and was thrown away.", message)
            self._broker.fail(message)
            return None
        task["cluster"], task["ack_id"] = Conf.CLUSTER_NAME, message
        return task


class Outbox:
    """Where the loop puts results: saved and acknowledged at once, by the process that did the work."""

    def __init__(self, queue: str, board: Board) -> None:
        self._broker, self._board = get_broker(queue), board

    def put(self, task: Any) -> None:
        try:
            save_task(task, self._broker)
            self._broker.acknowledge(task.pop("ack_id"))
            self._board.message = 0
        except DatabaseError as error:
            # The message comes back after the broker's retry time; our rows know that the work is done.
            log.warning("A result could not be saved (%s).", type(error).__name__)
            connections.close_all()
        post_execute.send(sender="django_q", task=task)
        if not task["success"]:
            log.error("Task %s failed.", task["func"])


def run(queue: str, tag: bytes, board: Board, dead: tuple[bytes, int] | None) -> None:
    """Works until asked to end (SIGTERM), recycled, or overdue. `dead` is the worker before in this place, if it died."""
    signal.signal(signal.SIGTERM, lambda *_: context.stop_soon())
    leases.wear(tag)
    Conf.CLUSTER_NAME = queue
    for each in connections.all():
        each.settings_dict["CONN_MAX_AGE"] = None  # one connection per worker, checked after errors
    if dead:
        with _patient():
            _take_over(*dead)
    work_loop(Inbox(queue, board), Outbox(queue, board), Timer(board), Conf.TIMEOUT)


def _take_over(tag: bytes, message: int) -> None:
    """What a dead worker held is free at once, and its message is delivered again at once."""
    sweeper.release(tag)
    if message:
        OrmQ.objects.filter(pk=message).update(lock=timezone.now())


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """A database that is away delays only the taking over; the sweeper does it later."""
    try:
        yield
    except DatabaseError as error:
        log.warning("What a dead worker held is left to the sweeper (%s).", type(error).__name__)
        connections.close_all()
