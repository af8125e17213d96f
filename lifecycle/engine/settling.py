"""Writes what a slice came to: one transaction, fenced by the token, with the next message in it."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from lifecycle.engine import leases
from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import KEEP, Blocked, Done, Ending, Fail, More, Retry, Wait
from lifecycle.engine.turns import LIVE, Turn, turn
from lifecycle.engine.workflow import UNDO
from lifecycle.models import Run, Step

S = Step.State
JITTER = 0.25  # upwards only, so that an outage is outlasted as long as the setting says


def settle(context: Context, ending: Ending) -> None:
    """Result, cursor, state, next message, run's state, audit: all or nothing. Raises LeaseLost and writes nothing."""
    with turn(context.run.pk) as now:
        step = context.step
        step.run = now.run
        fields = _fields(context, ending, cancelled=now.run.cancel_requested and step.name != UNDO)
        written = context.lease.rows().update(
            lease_token=None, lease_until=None, enqueued_at=None, busy_seconds=context.busy_seconds, **fields
        )
        if not written:
            raise leases.LeaseLost
        for name, value in fields.items():
            setattr(step, name, value)
        _follow(now, step, ending)


def _follow(now: Turn, step: Step, ending: Ending) -> None:
    """The run's own state, audit, and the next message (this step's too: it has none now)."""
    if step.state == S.BLOCKED and now.run.state in LIVE:
        now.become(Run.State.BLOCKED, step.error)
    if isinstance(ending, Retry) and step.state == S.WAITING:
        now.note("step.retrying", step, error=step.error, failures=step.failures)
    elif step.state not in (S.WAITING, S.RUNNING):
        now.note(f"step.{step.state}", step, **({"error": step.error} if step.error else {}))
    now.go_on()


def _fields(context: Context, ending: Ending, *, cancelled: bool) -> dict[str, Any]:
    """What the step's row becomes."""
    fields = _after(context, ending)
    if cancelled and fields["state"] not in (S.DONE, S.FAILED):
        fields.update(state=S.CANCELLED, finished_at=timezone.now())
    return fields


def _after(context: Context, ending: Ending) -> dict[str, Any]:
    clean: dict[str, Any] = {"attempts": 0, "failures": 0, "error": "", "cursor": context.cursor}
    match ending:
        case Done(result):
            return {
                **clean,
                **_shown(context.step),
                "cursor": None,
                "state": S.DONE,
                "result": result,
                "finished_at": timezone.now(),
            }
        case More(cursor, done, total, unit, result):
            shown = _shown(context.step)
            if done is not None:
                shown = {"done": done, "total": total, "unit": unit or context.step.unit}
            kept = {"result": result} if result is not None else {}
            return {**clean, **shown, **kept, "state": S.RUNNING, "cursor": cursor}
        case Wait(until, why, cursor):
            kept = {} if cursor is KEEP else {"cursor": cursor}
            return {**clean, **kept, "state": S.WAITING, "not_before": until, "error": why[:500]}
        case Blocked(why):
            return {**clean, "state": S.BLOCKED, "error": why[:500]}
        case Retry(error):
            return _retry(context, error)
        case Fail(error):
            return {
                "state": S.FAILED,
                "error": error[:500],
                "cursor": context.cursor,
                "finished_at": timezone.now(),
            }


def _shown(step: Step) -> dict[str, Any]:
    return {"done": step.done, "total": step.total, "unit": step.unit}


def _retry(context: Context, error: str) -> dict[str, Any]:
    """Waits as the setting says, then fails. A slice that moved its cursor made progress, so it counts anew."""
    moved = context.cursor != context.step.cursor
    failures = 1 if moved else context.step.failures + 1
    backoff = settings.STEP_BACKOFF
    fields: dict[str, Any] = {
        "failures": failures,
        "attempts": 0,
        "error": error[:500],
        "cursor": context.cursor,
    }
    if failures > len(backoff):
        return {**fields, "state": S.FAILED, "finished_at": timezone.now()}
    wait = backoff[failures - 1] * (1 + random.random() * JITTER)  # noqa: S311  (jitter, no secret)
    return {**fields, "state": S.WAITING, "not_before": timezone.now() + timedelta(seconds=wait)}
