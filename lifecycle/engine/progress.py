"""How far a run is, how fast, and how long it will take: for screens, commands and the API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lifecycle.models import Run, Step


@dataclass(frozen=True, slots=True)
class Pace:
    """`rate` in units a second of work, `eta` in seconds; None where nothing can be said yet."""

    rate: float | None
    eta: float | None


def pace(step: Step) -> Pace:
    """The pace of one step, from what it has done in the seconds it has worked (not those it waited)."""
    if step.done <= 0 or step.busy_seconds <= 0:
        return Pace(None, None)
    rate = step.done / step.busy_seconds
    if step.state == Step.State.DONE:
        return Pace(rate, 0.0)
    left = None if step.total is None else max(0, step.total - step.done)
    return Pace(rate, None if left is None else left / rate)


def describe_step(step: Step) -> dict[str, Any]:
    """One step as JSON."""
    now = pace(step)
    return {
        "name": step.name,
        "lane": step.lane,
        "stage": step.stage,
        "state": step.state,
        "done": step.done,
        "total": step.total,
        "unit": step.unit,
        "rate": None if now.rate is None else round(now.rate, 1),
        "eta_seconds": None if now.eta is None else round(now.eta, 1),
        "attempts": step.total_attempts,
        "failures": step.failures,
        "seconds": round(step.busy_seconds, 2),
        "not_before": moment(step.not_before) if step.state == Step.State.WAITING else None,
        "why": step.error,
    }


def describe(run: Run, *, steps: bool = True) -> dict[str, Any]:
    """A run as JSON, with its steps in order."""
    shown: dict[str, Any] = {
        "id": run.pk,
        "workflow": run.workflow,
        "subject": run.subject,
        "tenant": run.tenant_id,
        "state": run.state,
        "reason": run.reason,
        "pause_requested": run.pause_requested,
        "cancel_requested": run.cancel_requested,
        "created_at": moment(run.created_at),
        "finished_at": moment(run.finished_at),
    }
    if steps:
        shown["steps"] = [describe_step(step) for step in run.steps.order_by("stage", "id")]
    return shown


def moment(value: datetime | None) -> str | None:
    """RFC 3339 in UTC; None for no time."""
    return None if value is None else f"{value:%Y-%m-%dT%H:%M:%SZ}"
