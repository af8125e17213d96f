"""Two sessions that delete side by side inside one fenced batch: the server works on both halves of a run at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from lifecycle.systems.base import BatchOver, Gate, SharedGate, Tally, Transient
from lifecycle.systems.items import Run

LANES = ("write", "write beside")
LEAST = 1_000  # keys in a lane; fewer are not worth a second transaction


class Lanes:
    """Threads of one eraser, made at first need."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def carry_out(self, run: Run, gate: Gate, work: Callable[[Run, Gate, str], Tally]) -> Tally:
        """Does both halves of `run` with `work`, each in a transaction of its own, and returns when both have ended.

        Counts as taken what is finished from the start on; what was finished beyond is found gone when asked for again.
        Raises BatchOver where nothing was finished. Where the halves stood in each other's way (a row that points to
        both), the first is done alone.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(len(LANES), thread_name_prefix="lane")
        middle = (len(run.keys) + 1) // 2
        halves = (run.part(0, middle), run.part(middle, len(run.keys)))
        shared = SharedGate(gate, threading.Lock())
        futures = [
            self._pool.submit(work, half, shared, use) for half, use in zip(halves, LANES, strict=True)
        ]
        errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None and not isinstance(error, BatchOver | Transient):
                raise error
        first = work(halves[0], gate, LANES[0]) if isinstance(errors[0], Transient) else futures[0].result()
        return _sum([first] if errors[1] is not None else [first, futures[1].result()])

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


def _sum(tallies: Sequence[Tally]) -> Tally:
    return Tally(
        taken=sum(each.taken for each in tallies),
        erased=sum(each.erased for each in tallies),
        anonymised=sum(each.anonymised for each in tallies),
    )
