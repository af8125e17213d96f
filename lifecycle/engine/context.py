"""What a step's function is given: its run, its cursor, its time, its lease."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from lifecycle.engine import leases
from lifecycle.models import Run, Step, Undo

SLICE_SECONDS = 25.0  # a slice ends by 30 s, with room for the batch that is under way
BEAT_AT_MOST_EVERY = 1.0

_stopping = False


def stop_soon() -> None:
    """From now on every slice of this process sees its time as over (the worker was asked to end)."""
    global _stopping
    _stopping = True


def stopping() -> bool:
    """True once this process was asked to end."""
    return _stopping


class Stopped(Exception):
    """The run was paused, cancelled or blocked while the slice worked: the engine keeps `cursor` and ends the slice."""

    def __init__(self, why: str = "", *, blocked: bool = False) -> None:
        super().__init__(why)
        self.why, self.blocked = why, blocked


class Context:
    """One slice. `cursor` may be moved on as the work goes: what it says is kept when the slice ends in an error."""

    def __init__(self, run: Run, step: Step, lease: leases.Lease, gate: Callable[[Run], str | None]) -> None:
        self.run, self.step, self.lease = run, step, lease
        self.cursor: Any = deepcopy(step.cursor)
        self.deadline: datetime = timezone.now() + timedelta(seconds=SLICE_SECONDS)
        self.gate = gate
        self._began = self._beat = self._shown = time.monotonic()
        self._busy_before = step.busy_seconds

    def time_left(self) -> float:
        """Seconds until the slice should end; 0 or less: return `More`. Negative once the slice is late."""
        left = SLICE_SECONDS - (time.monotonic() - self._began)
        return min(left, 0.0) if _stopping else left

    @property
    def busy_seconds(self) -> float:
        """Seconds this step has worked in all, this slice included."""
        return self._busy_before + time.monotonic() - self._began

    def heartbeat(self) -> None:
        """Extends the lease (at most once a second). Raises LeaseLost: stop at once, another worker has the step."""
        now = time.monotonic()
        if self.lease.lost:
            raise leases.LeaseLost
        if now - self._beat >= BEAT_AT_MOST_EVERY:
            self.lease.extend()
            self._beat = now

    def check(self) -> None:
        """Asks all gates now. Raises Stopped when the run was paused, cancelled or blocked: let it pass."""
        self.lease.extend()
        run = Run.objects.get(pk=self.run.pk)
        if run.state != Run.State.RUNNING or run.pause_requested or run.cancel_requested:
            raise Stopped("The run was paused or cancelled.")
        if why := self.gate(run):
            raise Stopped(why, blocked=True)

    def progress(self, done: int, total: int | None = None, unit: str = "") -> None:
        """Shows how far the step is and keeps the cursor (at most once a second). Raises LeaseLost."""
        now = time.monotonic()
        self.step.done, self.step.total, self.step.unit = done, total, unit or self.step.unit
        if now - self._shown < BEAT_AT_MOST_EVERY:
            return
        self._shown = self._beat = now
        self.lease.extend(
            done=done, total=total, unit=self.step.unit, cursor=self.cursor, busy_seconds=self.busy_seconds
        )

    def undo(self, action: str, **arguments: Any) -> Undo:
        """Commits what must be undone, before anything is made outside; once per action and arguments.

        `arguments` are our own ids only. Raises RuntimeError inside a transaction, where nothing is committed yet.
        """
        with transaction.atomic(durable=True):
            made, _ = Undo.objects.get_or_create(
                run=self.run, action=action, arguments=arguments, undone_at=None, defaults={"step": self.step}
            )
        return made

    def result_of(self, name: str, lane: str = "") -> dict[str, Any]:
        """The result of a finished step of this run; {} where it is not done."""
        found = Step.objects.filter(run=self.run, name=name, lane=lane, state=Step.State.DONE).first()
        return dict(found.result or {}) if found else {}
