"""A migration's states, and who hears of each."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from compliance import audit
from compliance.actors import Actor
from compliance.errors import Refused
from lifecycle import notify
from lifecycle.models import Migration

S = Migration.State
BEFORE_CUTOVER = (
    S.INITIATED,
    S.PROVISIONING_GREEN,
    S.INITIAL_SYNC,
    S.DUAL_WRITE_ENABLED,
    S.INCREMENTAL_SYNC,
)
IN_CUTOVER = (S.CUTOVER_STARTED, S.CUTOVER_COMPLETE)
_STAMPS = {
    S.COMPLETED: "finished_at",
    S.FAILED: "finished_at",
    S.ROLLED_BACK: "finished_at",
}


def locked(migration: Migration) -> Migration:
    """The row as it is now, locked until the transaction ends."""
    return (
        Migration.objects.select_for_update(no_key=True, of=("self",))
        .select_related("source", "target", "tenant")
        .get(pk=migration.pk)
    )


def move(migration: Migration, to: Migration.State, *, actor: Actor, reason: str = "", **fields: Any) -> bool:
    """The state becomes `to`, audited, and engineering hears of it. False where it is that already."""
    with transaction.atomic():
        row = locked(migration)
        if row.state == to:
            return False
        before, row.state = row.state, to
        for name, value in fields.items():
            setattr(row, name, value)
        if reason:
            row.reason = reason[:500]
        if to in _STAMPS:
            setattr(row, _STAMPS[to], timezone.now())
        row.save()
        audit.record(
            "migration.moved",
            actor=actor,
            tenant_id=row.tenant_id,
            case_id=row.pk,
            data={"from": before, "to": to, "reason": reason[:500]},
        )
        transaction.on_commit(
            partial(_tell, row.pk, row.tenant_id, row.get_state_display(), reason), robust=True
        )
    migration.refresh_from_db()
    return True


def note(migration: Migration, verb: str, *, actor: Actor, **data: Any) -> None:
    """An audit event about the migration, in the caller's transaction."""
    audit.record(verb, actor=actor, tenant_id=migration.tenant_id, case_id=migration.pk, data=data)


def refuse_ended(migration: Migration) -> None:
    """Raises Refused for a move that has ended."""
    if migration.state in Migration.ENDED:
        raise Refused(f"Move {migration.pk} is {migration.get_state_display()}.")


def _tell(pk: str, tenant: str, state: str, reason: str) -> None:
    notify.team(
        "engineering",
        f"Move {pk} of tenant {tenant}: {state}",
        f"The move of tenant {tenant} is {state} now." + (f" {reason}" if reason else ""),
    )
