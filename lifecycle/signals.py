"""What lifecycle does at once when compliance has decided. The sweeper does the same a minute later if this is lost.

Every process imports this, and few do any of it: each duty imports what it needs.
"""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from compliance import signals
from compliance.models import ErasureRequest, LegalHold
from lifecycle.engine import providers, sweeper

providers.provided_by(
    "lifecycle.erasure.workflow", "lifecycle.preservation.workflow", "lifecycle.migration.workflow"
)


def _keep_house() -> None:
    from lifecycle import housekeeping

    housekeeping.sweep()


sweeper.register_chore("housekeeping", _keep_house)


@receiver(signals.request_scheduled)
def start_erasure(request_id: str, **_: Any) -> None:
    """An approved request starts."""
    from lifecycle.erasure import actions

    request = ErasureRequest.objects.get(pk=request_id)
    if request.state == ErasureRequest.State.SCHEDULED:
        actions.start(request)


@receiver(signals.hold_placed)
def preserve(hold_id: str, **_: Any) -> None:
    """A hold's data goes under the provider's own hold."""
    from lifecycle.preservation import workflow as preserving

    preserving.start(LegalHold.objects.get(pk=hold_id))


@receiver(signals.hold_lifted)
def let_go(hold_id: str, **_: Any) -> None:
    """The provider's hold is taken off, and what the hold stopped goes on by itself."""
    from lifecycle import housekeeping
    from lifecycle.preservation import workflow as preserving

    preserving.let_go(LegalHold.objects.get(pk=hold_id))
    housekeeping.resume_unblocked()


@receiver(signals.hold_blocked)
def tell_legal(hold_ids: list[str], case_id: str, **_: Any) -> None:
    """Legal hears at once that a hold stopped something."""
    from lifecycle import notify

    notify.team(
        "legal",
        f"Legal hold stopped an erasure ({case_id})",
        f"Hold {', '.join(hold_ids)} stopped request {case_id}. Nothing in its scope was destroyed. "
        "The request goes on by itself when the last hold is lifted.",
    )
