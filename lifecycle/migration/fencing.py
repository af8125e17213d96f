"""Every destructive batch of a move goes through compliance's fence: a hold forbids it."""

from __future__ import annotations

from collections.abc import Callable

from compliance import fence, statements
from compliance.models import LegalHold
from lifecycle.models import Migration
from lifecycle.systems.base import BatchOver, Gate


class Held(Exception):
    """A legal hold covers the tenant: nothing was destroyed. Its words may be read by everybody."""


def destroy(migration: Migration, system: str, work: Callable[[Gate], None]) -> bool:
    """Runs `work` in one fenced batch. False where the batch ended before the work did: call again. Raises Held."""
    try:
        with fence.batch(
            tenant_id=migration.tenant_id,
            subject_pseudonym="",
            category="",
            system=system,
            case_id=migration.pk,
        ) as gate:
            work(gate)
            return True
    except fence.HoldInForce as held:
        raise Held(statements.of_holds(LegalHold.objects.filter(pk__in=held.holds))) from None
    except (fence.PastDeadline, BatchOver):
        return False


def holds(tenant_id: str) -> list[str]:
    """Why nothing of the tenant may be destroyed now; [] where it may."""
    found = LegalHold.objects.filter(tenant_id=tenant_id, state__in=LegalHold.BLOCKING)
    sentence = statements.of_holds(found)
    return [f"Blue can't be cleared: {sentence}"] if sentence else []
