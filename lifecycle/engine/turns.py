"""One transaction on one run, always in the same order: run row, step rows, messages, `on_state`, audit.

Whoever changes a step's or a run's state does it in a turn, so two of them never act on the same run at once, and
the audit head, which every transaction of the program shares, is always locked last.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from compliance import audit
from compliance.actors import SYSTEM, Actor
from lifecycle.engine import leases, queue, readiness
from lifecycle.engine.workflow import UNDO, named
from lifecycle.models import Run, Step

S = Step.State
R = Run.State
LIVE = (R.RUNNING, R.PAUSED, R.BLOCKED)
OPEN = (S.WAITING, S.RUNNING, S.BLOCKED)
_SHOWN = 500
log = logging.getLogger(__name__)


class Turn:
    """The run, locked. `note` audits, `become` changes the run's state, `go_on` queues what may start."""

    def __init__(self, run: Run, actor: Actor) -> None:
        self.run, self.actor = run, actor
        self._events: list[tuple[str, dict[str, Any]]] = []
        self._was = run.state
        self.insist = False

    def steps(self) -> list[Step]:
        """All steps of the run, in order, with the run itself attached."""
        steps = list(self.run.steps.order_by("stage", "id"))
        for step in steps:
            step.run = self.run
        return steps

    def note(self, verb: str, step: Step | None = None, **data: Any) -> None:
        """An audit event that is written at the end of the turn."""
        where = {"step": step.name, **({"lane": step.lane} if step.lane else {})} if step else {}
        self._events.append((verb, {"run": self.run.pk, **where, **data}))

    def become(self, state: Run.State, reason: str = "") -> None:
        """Changes the run's state."""
        self.run.state, self.run.reason = state, reason[:_SHOWN]
        self.run.finished_at = None if state in LIVE else timezone.now()

    def go_on(self) -> None:
        """Queues every step that may start and has no message yet; ends, pauses or cancels the run when it is time."""
        steps = self.steps()
        if self.run.cancel_requested:
            self._cancel(steps)
        elif self.run.state == R.RUNNING and self.run.pause_requested:
            if not self.held(steps):
                self.become(R.PAUSED, self.run.reason)
        elif self.run.state == R.RUNNING:
            now = readiness.standing(steps)
            for step in now.ready:
                if step.enqueued_at is None and step.lease_token is None:
                    queue.enqueue(step, due=step.not_before)
            if now.over:
                self._end(now.broken)

    def held(self, steps: list[Step], *, besides: str = "") -> bool:
        """True while a worker holds one of these steps."""
        ids = [step.pk for step in steps if step.name != besides]
        return Step.objects.filter(leases.live(), pk__in=ids).exists()

    def close(self) -> None:
        """Writes the run, tells the workflow, audits. Called at the end of the turn."""
        self.run.save(update_fields=["state", "reason", "pause_requested", "cancel_requested", "finished_at"])
        if self.run.state != self._was:
            self._tell_workflow()
            self.note(f"run.{self.run.state}", reason=self.run.reason)
        for verb, data in self._events:
            audit.record(
                verb, actor=self.actor, tenant_id=self.run.tenant_id, case_id=self.run.subject, data=data
            )

    def _tell_workflow(self) -> None:
        """An error of `on_state` undoes the whole turn, which is tried again; with `insist` it is only noted."""
        if not self.insist:
            named(self.run.workflow).on_state(self.run)
            return
        try:
            with transaction.atomic():
                named(self.run.workflow).on_state(self.run)
        except Exception as error:
            log.error(
                "Run %s is %s; its workflow failed to follow: %s",
                self.run.pk,
                self.run.state,
                type(error).__name__,
            )
            self.note("run.hook_failed", error=type(error).__name__)

    def _end(self, broken: Any) -> None:
        if not broken:
            self.become(R.DONE)
            return
        names = [f"{step.name} ({step.lane})" if step.lane else step.name for step in broken]
        first = next((step.error for step in broken if step.error), "")
        self.become(R.FAILED, f"Failed: {', '.join(names)}. {first}".strip())

    def _cancel(self, steps: list[Step]) -> None:
        """Gives up what nobody works on; once nobody holds anything, what was made is undone, then it is cancelled."""
        if self.run.state not in (*LIVE, R.FAILED):
            return
        Step.objects.filter(run=self.run, state__in=OPEN, lease_token=None).exclude(name=UNDO).update(
            state=S.CANCELLED, finished_at=timezone.now()
        )
        if self.held(steps, besides=UNDO):
            return
        undo = next((step for step in steps if step.name == UNDO), None)
        if undo is None and self.run.undos.filter(undone_at=None).exists():
            last = self.run.steps.aggregate(last=Max("stage"))["last"] or 0
            undo = Step.objects.create(run=self.run, name=UNDO, stage=last + 1)
        if undo is None or undo.state == S.DONE:
            self.become(R.CANCELLED, self.run.reason)
        elif undo.state == S.FAILED:
            self.become(R.FAILED, f"Undoing failed: {undo.error}")
        elif undo.enqueued_at is None and undo.lease_token is None:
            queue.enqueue(undo, due=undo.not_before)


class Busy(Exception):
    """Somebody else acts on the run at this moment."""


@contextmanager
def turn(run_id: str, actor: Actor = SYSTEM, *, wait: bool = True) -> Iterator[Turn]:
    """Locks the run and yields its turn; everything is written when the block ends, or nothing when it raises.

    Raises Busy with `wait=False` when the run is locked, Run.DoesNotExist when there is none.
    """
    with transaction.atomic():
        # No key update: rows that refer to the run (undos) can still be committed by a working step.
        rows = Run.objects.select_for_update(no_key=True, skip_locked=not wait).filter(pk=run_id)
        run = rows.get() if wait else rows.first()
        if run is None:
            raise Busy
        taken = Turn(run, actor)
        yield taken
        taken.close()
