"""Every destructive batch of an erasure goes through here: the fence, and what stops it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from compliance import fence, statements
from compliance.models import LegalHold
from lifecycle.erasure.cases import CaseFile
from lifecycle.systems.base import BatchOver, Gate, Tally, Transient

Result = TypeVar("Result")


class Held(Exception):
    """A legal hold covers the batch: nothing was sent. Its words are those that everybody may read."""

    def __init__(self, holds: list[str]) -> None:
        super().__init__(statements.of_holds(LegalHold.objects.filter(pk__in=holds)))
        self.holds = holds


def destroy(
    file: CaseFile, system: str, work: Callable[[Gate], Result], *, category: str = ""
) -> Result | None:
    """Runs `work` inside one fenced batch. None: the batch ended at its deadline, call again with what is left.

    Raises Held when a hold in force covers it.
    """
    try:
        with fence.batch(
            tenant_id=file.request.tenant_id,
            subject_pseudonym=file.request.subject_pseudonym if file.scope.subject.user else "",
            category=category,
            system=system,
            case_id=file.request.pk,
            spared_users=file.judgement.held_users if file.request.around_hold else (),
            held_categories=file.scope.held_categories,
        ) as gate:
            return work(gate)
    except fence.HoldInForce as held:
        raise Held(held.holds) from None
    except (fence.PastDeadline, BatchOver):
        return None


def taken(tally: Tally | None) -> int:
    """How many items a batch finished (0 where it ended at its deadline)."""
    return tally.taken if tally else 0


def patience(failures: int) -> None:
    """Raises Transient when batches keep ending at their deadline with nothing done."""
    if failures >= 5:
        raise Transient(
            "Five batches in a row ended at their deadline with nothing done: the system is too slow or stopped."
        )
