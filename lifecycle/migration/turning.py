"""Going back to blue: by a person, by the watchdog's trip, or because a step can't go on. Before the flip and after it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from compliance.actors import SYSTEM, Actor
from lifecycle.engine import runs
from lifecycle.migration import orders, states
from lifecycle.models import Environment, Migration, Reading, Run

S = Migration.State
_READINGS = 20


def go_back(
    migration: Migration, *, why: str, actor: Actor = SYSTEM, keep: bool = True, cancelled: bool = False
) -> None:
    """Decides that the move goes back, and tells the watchdog. What it made is undone by the run's undo rows.

    `keep`: green stays for the post-mortem. The state becomes `rolled back` once the watchdog says that blue has
    everything, not before. A second call changes nothing.
    """
    with transaction.atomic():
        row = states.locked(migration)
        if row.state in (S.COMPLETED, S.ROLLED_BACK) or orders.is_going_back(row):
            return
        row.report = _report(row, why, actor, keep=keep, cancelled=cancelled)
        row.reason = why[:500]
        row.save(update_fields=["report", "reason"])
        orders.back(row)
        states.note(row, "migration.goes_back", actor=actor, reason=why[:500])
        if row.run_id:
            transaction.on_commit(partial(_cancel, row.run_id), robust=True)
    migration.refresh_from_db()


def follow(migration: Migration) -> bool:
    """Looks whether the watchdog has tripped, or has brought about a way back. True while the move is going back."""
    migration.refresh_from_db()
    if migration.state in Migration.ENDED and migration.state != S.FAILED:
        return migration.state == S.ROLLED_BACK
    order = orders.find(migration)
    if order is not None and order.latched and not order.closed:
        go_back(migration, why=order.latch_reason or "The watchdog took it back.")
    if not orders.is_going_back(migration):
        return False
    order = orders.find(migration)
    if order is None or orders.is_done(order):
        arrived(migration)
    return True


def arrived(migration: Migration) -> None:
    """Blue has everything again, as the watchdog says."""
    keep, cancelled = bool(migration.report.get("keep")), bool(migration.report.get("cancelled"))
    if cancelled:
        return  # the state follows once everything was undone
    moved = states.move(
        migration, S.ROLLED_BACK, actor=SYSTEM, reason=migration.reason, rolled_back_at=timezone.now()
    )
    if moved and keep and migration.target_id:
        Environment.objects.filter(pk=migration.target_id).update(role=Environment.Role.KEPT_GREEN)


def _report(row: Migration, why: str, actor: Actor, *, keep: bool, cancelled: bool) -> dict[str, Any]:
    order = orders.find(row)
    recent = Reading.objects.filter(migration=row).order_by("-id")[:_READINGS]
    last = [{"at": f"{each.at:%Y-%m-%dT%H:%M:%S.%fZ}", **each.data} for each in reversed(recent)]
    kept = timezone.now() + timedelta(days=settings.MIGRATION["kept_green_days"])
    return {
        "why": why,
        "by": actor.name,
        "at": f"{timezone.now():%Y-%m-%dT%H:%M:%SZ}",
        "state": row.state,
        "share": order.share if order else 0,
        "owner": order.owner if order else row.source_region,
        "tripped_at": f"{order.latched_at:%Y-%m-%dT%H:%M:%SZ}" if order and order.latched_at else None,
        "readings": last,
        "keep": keep,
        "kept_until": f"{kept:%Y-%m-%dT%H:%M:%SZ}" if keep else None,
        "cancelled": cancelled,
    }


def tell_run(migration: Migration) -> None:
    """The run hears that the move goes back, where it did not yet."""
    if migration.run_id:
        _cancel(migration.run_id)


def _cancel(run_id: str) -> None:
    run = Run.objects.get(pk=run_id)
    if not run.cancel_requested and not runs.check_cancel(run, SYSTEM):
        runs.cancel(run, actor=SYSTEM, reason="It goes back to blue.")
