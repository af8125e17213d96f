"""A move as JSON: for the command line, the API and the board. Read from rows; nothing is measured here."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from lifecycle.engine import progress
from lifecycle.migration import orders
from lifecycle.models import Migration, Order, Reading, Run, Step

S = Migration.State
_UNITS = {"postgresql": "rows", "s3": "objects", "pinecone": "vectors"}


def of(migration: Migration) -> dict[str, Any]:
    """Everything that is known of the move now."""
    order = orders.find(migration)
    run = Run.objects.filter(pk=migration.run_id).first()
    reading = Reading.objects.filter(migration=migration).order_by("-id").first()
    data: dict[str, Any] = reading.data if reading else {}
    steps = list(Step.objects.filter(run=run).order_by("stage", "id")) if run else []
    return {
        **brief(migration, order),
        "owner": order.owner if order else migration.source_region,
        "epoch": order.epoch if order else 0,
        "order_done": orders.is_done(order) if order else True,
        "outcome": order.outcome if order else {},
        "latched": bool(order and order.latched),
        "latch_reason": order.latch_reason if order else "",
        "run": run.pk if run else None,
        "run_state": run.state if run else "",
        "why": _why(run, steps),
        "tier": migration.tenant.tier,
        "soak": migration.soak,
        "digest": migration.plan_digest,
        "override_reason": migration.override_reason,
        "planned_by": migration.planned_by,
        "started_by": migration.started_by,
        "completed_by": migration.completed_by,
        "plan": {name: value for name, value in migration.plan.items() if name != "places"},
        "steps": [progress.describe_step(step) for step in steps],
        "lag": {
            "bytes": data.get("lag_bytes"),
            "seconds": data.get("lag_s"),
            "changes": data.get("changes_behind"),
        },
        "gates": data.get("gates", []),
        "ready_back": data.get("ready_back") or {"seconds": None, "writes_at_risk": None},
        "reading_at": progress.moment(reading.at if reading else None),
        "verification": migration.verification,
        "to_go": _to_go(steps),
        "moved": _moved(steps),
        "flip": next((step.result or {} for step in steps if step.name == "flip"), {}),
        "report": {name: value for name, value in migration.report.items() if name != "readings"},
        "created_at": progress.moment(migration.created_at),
        "started_at": progress.moment(migration.started_at),
        "flipped_at": progress.moment(migration.flipped_at),
        "rolled_back_at": progress.moment(migration.rolled_back_at),
        "finished_at": progress.moment(migration.finished_at),
        "next_step_at": progress.moment(_next_step_at(migration, order)),
    }


def brief(migration: Migration, order: Order | None = None) -> dict[str, Any]:
    """One line of a list."""
    order = order or orders.find(migration)
    return {
        "id": migration.pk,
        "tenant": migration.tenant_id,
        "state": migration.state,
        "source": migration.source_region,
        "target": migration.target_region,
        "share": order.share if order else 0,
        "reason": migration.reason,
    }


def _why(run: Run | None, steps: list[Step]) -> str:
    """Why the run waits, in the words of what waits."""
    if run is None:
        return ""
    if run.state != Run.State.RUNNING and run.reason:
        return run.reason
    return next((step.error for step in steps if step.error and step.state != Step.State.DONE), "")


def _to_go(steps: list[Step]) -> dict[str, int | None]:
    """Rows, objects and vectors that the copy has not brought over; None before anything was counted."""
    found: dict[str, int | None] = dict.fromkeys(_UNITS.values())
    for step in steps:
        if step.name == "copy" and step.lane in _UNITS:
            if step.state == Step.State.DONE:
                found[_UNITS[step.lane]] = 0
            elif step.total is not None:
                found[_UNITS[step.lane]] = max(0, step.total - step.done)
    return found


def _moved(steps: list[Step]) -> dict[str, dict[str, int]]:
    """Items and bytes that the finished copies brought over, by system."""
    return {
        step.lane: {"items": int(step.result.get("items", 0)), "bytes": int(step.result.get("bytes", 0))}
        for step in steps
        if step.name == "copy" and step.state == Step.State.DONE and isinstance(step.result, dict)
    }


def _next_step_at(migration: Migration, order: Order | None) -> datetime | None:
    if migration.state == S.CUTOVER_STARTED and order is not None and order.share and order.done_at:
        if order.done_epoch >= order.epoch:
            return order.done_at + timedelta(seconds=float(migration.settings.get("step_seconds", 0)))
        return None
    if migration.state == S.CUTOVER_COMPLETE and migration.flipped_at:
        return migration.flipped_at + timedelta(seconds=float(migration.settings.get("soak_seconds", 0)))
    return None
