"""The verbs of a move. Each has a `check_` beside it: reasons why not, [] when allowed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from compliance.access import lacks
from compliance.actors import ENGINEER, SYSTEM, SYSTEM_ROLE, Actor
from compliance.errors import Refused, refuse_if
from lifecycle.engine import runs
from lifecycle.migration import (
    comparing,
    fencing,
    locks,
    orders,
    planning,
    policy,
    states,
    turning,
    workflow,
)
from lifecycle.models import Environment, Migration, Run, Tenant
from lifecycle.systems.base import Permanent

S = Migration.State
_MOST = 1_000  # differing keys that `verify` names


def plan(
    *,
    actor: Actor,
    tenant_id: str,
    region: str,
    soak: str | None = None,
    override_reason: str = "",
    window: Mapping[str, str] | None = None,
    own: Mapping[str, Any] | None = None,
) -> Migration:
    """Plans a move; changes nothing outside. `own` are settings of this move alone (steps, step_seconds, gates ...).

    Raises Refused with every reason that stands in the way.
    """
    refuse_if(lacks(actor, ENGINEER))
    tenant = Tenant.objects.filter(pk=tenant_id).first()
    if tenant is None:
        raise Refused(f"There is no tenant {tenant_id}.")
    chosen = policy.soak_of(tenant, soak)
    refuse_if(
        [*locks.reasons(tenant, region), *policy.reasons(tenant, chosen, override_reason, window, False)]
    )
    try:
        merged = policy.merged(settings.MIGRATION, own) | ({"window": dict(window)} if window else {})
        source = planning.home(tenant)
    except (ValueError, Permanent) as failure:
        raise Refused(str(failure)) from None
    made = Migration(
        tenant=tenant, source=source, source_region=source.region, target_region=region, soak=chosen,
        settings=merged, override_reason=override_reason.strip()[:500], planned_by=actor.name,
    )  # fmt: skip
    try:
        made.plan = planning.draft(made, source, region)
    except Permanent as failure:
        raise Refused(str(failure)) from None
    made.plan_digest = planning.digest(made.plan)
    refuse_if(planning.refusals(made.plan))
    with transaction.atomic():
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        refuse_if(locks.reasons(tenant, region))
        made.save(force_insert=True)
        data = {
            "digest": made.plan_digest,
            "to": region,
            "soak": chosen,
            "override": bool(made.override_reason),
        }
        states.note(made, "migration.planned", actor=actor, **{**data, "region": data.pop("to")})
    return made


def check_start(migration: Migration, *, actor: Actor) -> list[str]:
    """Why the move can't be started."""
    found = lacks(actor, ENGINEER)
    if migration.state != S.INITIATED or migration.run_id:
        return [*found, f"Move {migration.pk} is {migration.get_state_display()} and was started already."]
    return found + locks.reasons(migration.tenant, migration.target_region, besides=migration)


def start(migration: Migration, *, actor: Actor, digest: str | None = None) -> Migration:
    """Approves the plan with this digest and starts it. Raises Refused where the plan is another one."""
    with transaction.atomic():
        row = states.locked(migration)
        refuse_if(check_start(row, actor=actor))
        if digest is not None and digest != row.plan_digest:
            raise Refused(
                "The plan is not the one that this digest stands for. Read it again, then start it."
            )
        row.started_at, row.started_by = timezone.now(), actor.name
        row.save(update_fields=["started_at", "started_by"])
        states.note(row, "migration.started", actor=actor, digest=row.plan_digest)
        run = workflow.start(row)
        Migration.objects.filter(pk=row.pk).update(run=run)
    migration.refresh_from_db()
    return migration


def check_advance(migration: Migration, *, actor: Actor) -> list[str]:
    """Why no soak period can be ended now."""
    found = lacks(actor, ENGINEER)
    if _soaking(migration) is None:
        found.append("No soak period runs now, so there is nothing to advance.")
    if orders.is_going_back(migration):
        found.append("The move goes back to blue.")
    return found


def advance(migration: Migration, *, actor: Actor) -> Migration:
    """Ends the soak period that runs. The gates are asked all the same."""
    with transaction.atomic():
        row = states.locked(migration)
        refuse_if(check_advance(row, actor=actor))
        early = _soaking(row)
        row.settings = row.settings | {"early": early}
        row.save(update_fields=["settings"])
        states.note(row, "migration.advanced", actor=actor, step=str(early))
    _wake(migration)
    return migration


def check_pause(migration: Migration, *, actor: Actor) -> list[str]:
    """Why the move can't be paused."""
    return [*lacks(actor, ENGINEER), *_run_reasons(migration, actor, "pause")]


def pause(migration: Migration, *, actor: Actor) -> Migration:
    """No step goes on. Traffic stays as it is, and the watchdog goes on watching."""
    refuse_if(check_pause(migration, actor=actor))
    runs.pause(_run(migration), actor=actor)
    return migration


def check_resume(migration: Migration, *, actor: Actor) -> list[str]:
    """Why there is nothing to resume."""
    return [*lacks(actor, ENGINEER), *_run_reasons(migration, actor, "resume")]


def resume(migration: Migration, *, actor: Actor) -> Migration:
    """Takes up a paused move, or tries a failed step again. What was done is kept."""
    refuse_if(check_resume(migration, actor=actor))
    run = _run(migration)
    if run.state == Run.State.FAILED:
        runs.retry(run, actor=actor)
    else:
        runs.resume(run, actor=actor)
    migration.refresh_from_db()
    return migration


def check_rollback(migration: Migration, *, actor: Actor, reason: str = "") -> list[str]:
    """Why the move can't go back."""
    found = lacks(actor, ENGINEER, SYSTEM_ROLE)
    if not reason.strip():
        found.append("Say why it goes back.")
    if migration.completed_by and _handed_over(migration):
        found.append(
            "Blue is being cleared: there is no way back any more. Plan a move in the other direction."
        )
    elif migration.state in Migration.ENDED and migration.state != S.FAILED:
        found.append(f"Move {migration.pk} is {migration.get_state_display()}.")
    elif migration.run_id is None:
        found.append("The move was not started. Cancel it.")
    return found


def rollback(migration: Migration, *, actor: Actor, reason: str) -> Migration:
    """All traffic and all writes to blue at once; green is kept for the post-mortem. Raises Refused.

    Returns when the watchdog says that it is done, or after five seconds; the state follows by itself then.
    """
    refuse_if(check_rollback(migration, actor=actor, reason=reason))
    turning.go_back(migration, why=reason, actor=actor)
    _await_back(migration)
    return migration


def check_verify(migration: Migration, *, actor: Actor) -> list[str]:
    """Why blue and green can't be compared."""
    found = lacks(actor, ENGINEER)
    if migration.target_id is None or migration.state in (S.INITIATED, S.PROVISIONING_GREEN, S.INITIAL_SYNC):
        found.append("There is no whole copy to compare yet.")
    elif orders.find(migration) is None or getattr(orders.find(migration), "closed", False):
        found.append("Blue and green follow each other no more, so there is nothing to compare.")
    return found


def verify(migration: Migration, *, actor: Actor, repair: bool = False) -> dict[str, Any]:
    """Compares every system key by key; with `repair` what differs is mended and compared again.

    Keys can name people: they are in the answer, and nowhere else.
    """
    refuse_if(check_verify(migration, actor=actor))
    found, mended = comparing.whole(migration, repair=repair)
    record = comparing.record(migration, comparing.kinds(found), comparing.sizes(migration))
    with transaction.atomic():
        states.note(migration, "migration.verified", actor=actor, kinds=record["kinds"], repaired=mended)
    return {
        "id": migration.pk,
        **record,
        "repaired": mended,
        "differences": [
            {"kind": str(each.kind), "system": each.store, "item": each.item, "key": each.key}
            for each in found[:_MOST]
        ],
        "shown": min(len(found), _MOST),
        "found": len(found),
    }


def check_complete(migration: Migration, *, actor: Actor) -> list[str]:
    """Why blue can't be given up now."""
    found = lacks(actor, ENGINEER)
    if migration.state != S.CUTOVER_COMPLETE:
        return [
            *found,
            f"Move {migration.pk} is {migration.get_state_display()}: green must own and have soaked first.",
        ]
    if migration.completed_by:
        found.append(f"{migration.completed_by} has completed it already.")
    if actor.name == migration.started_by:
        found.append("A second person completes a move: you started it.")
    if _soaking(migration) is not None:
        found.append("Green still soaks. Wait until it has, or advance.")
    if orders.is_going_back(migration):
        found.append("The move goes back to blue.")
    return found + fencing.holds(migration.tenant_id)


def complete(migration: Migration, *, actor: Actor) -> Migration:
    """The second person's word: after a last clean comparison and a backup, blue's copy is destroyed."""
    with transaction.atomic():
        row = states.locked(migration)
        refuse_if(check_complete(row, actor=actor))
        row.completed_by = actor.name
        row.save(update_fields=["completed_by"])
        states.note(row, "migration.completion_approved", actor=actor)
    _wake(migration)
    return migration


def check_cancel(migration: Migration, *, actor: Actor) -> list[str]:
    """Why the move can't be cancelled."""
    found = lacks(actor, ENGINEER)
    if migration.state in states.IN_CUTOVER or migration.state == S.BLUE_DECOMMISSIONED:
        found.append("The cutover has begun: roll it back instead.")
    elif migration.state in (S.COMPLETED, S.ROLLED_BACK):
        found.append(f"Move {migration.pk} is {migration.get_state_display()}.")
    return found


def cancel(migration: Migration, *, actor: Actor) -> Migration:
    """Before the cutover: what the move made is undone, nothing is left behind."""
    refuse_if(check_cancel(migration, actor=actor))
    if migration.run_id is None:
        states.move(migration, S.ROLLED_BACK, actor=actor, reason="Cancelled before it was started.")
        return migration
    turning.go_back(migration, why=f"Cancelled by {actor.name}.", actor=actor, keep=False, cancelled=True)
    return migration


def check_discard(migration: Migration, *, actor: Actor) -> list[str]:
    """Why kept green can't be given up."""
    found = lacks(actor, ENGINEER, SYSTEM_ROLE)
    target = migration.target
    if target is None or target.role != Environment.Role.KEPT_GREEN or target.gone_at is not None:
        return [*found, f"No green of move {migration.pk} is kept."]
    run = Run.objects.filter(pk=migration.run_id).first()
    if run is not None and run.state != Run.State.CANCELLED:
        found.append("The way back is still being cleaned up. Try again when its run is cancelled.")
    return found


def discard(migration: Migration, *, actor: Actor) -> Run:
    """Kept green goes: its data, its marks, its state."""
    refuse_if(check_discard(migration, actor=actor))
    with transaction.atomic():
        states.note(migration, "migration.discarded", actor=actor)
        return runs.start(workflow.DISCARD, migration.pk, tenant_id=migration.tenant_id, actor=SYSTEM)


def _soaking(migration: Migration) -> int | str | None:
    """The share or `soak` whose period runs now."""
    if migration.state == S.CUTOVER_STARTED:
        order = orders.find(migration)
        share = order.share if order else 0
        return share if share and migration.settings.get("early") != share else None
    if migration.state == S.CUTOVER_COMPLETE and migration.settings.get("early") != "soak":
        began = migration.flipped_at or datetime.now(UTC)
        passed = (timezone.now() - began).total_seconds()
        return "soak" if passed < float(migration.settings["soak_seconds"]) else None
    return None


def _handed_over(migration: Migration) -> bool:
    order = orders.find(migration)
    return order is not None and order.closed


def _run(migration: Migration) -> Run:
    if migration.run_id is None:
        raise Refused("The move was not started.")
    return Run.objects.get(pk=migration.run_id)


def _run_reasons(migration: Migration, actor: Actor, verb: str) -> list[str]:
    if migration.run_id is None:
        return ["The move was not started."]
    run = _run(migration)
    if verb == "pause":
        return runs.check_pause(run, actor) if not run.pause_requested else ["The move is paused already."]
    if run.state == Run.State.FAILED and not run.cancel_requested:
        return runs.check_retry(run, actor)
    if run.state in (Run.State.PAUSED, Run.State.BLOCKED) or run.pause_requested:
        return runs.check_resume(run, actor)
    return ["The move is not paused."]


def _wake(migration: Migration) -> None:
    migration.refresh_from_db()
    if migration.run_id:
        runs.wake(_run(migration))


def _await_back(migration: Migration, seconds: float = 5.0) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        order = orders.find(migration)
        if order is None or orders.is_done(order):
            break
        time.sleep(0.02)
    turning.follow(migration)
