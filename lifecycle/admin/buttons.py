"""What a person can press on a request, and why something is off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from django.utils import timezone

from compliance import statements
from compliance.access import lacks
from compliance.actions import deciding, states
from compliance.actors import Actor
from compliance.models import ErasureRequest
from lifecycle.engine.runs import MAY_STEER
from lifecycle.erasure import actions

S = ErasureRequest.State
_TYPED = "typed later"


@dataclass(frozen=True, slots=True)
class Button:
    """`fields` of its form: password, reason, reason?, until, system. `reasons`: why it is off, empty where it is on."""

    verb: str
    label: str
    hint: str
    reasons: list[str]
    fields: tuple[str, ...] = ()
    tone: str = "plain"

    @property
    def on(self) -> bool:
        """True where it may be pressed."""
        return not self.reasons


def of(request: ErasureRequest, viewer: Actor) -> list[Button]:
    """The buttons of the request's page, in their order."""
    every = [*_decisions(request, viewer), *(each for each in _rarer(request, viewer) if each.on)]
    shown = statements.shown_state(request, viewer)
    # A hold that the viewer may not know of is not told by the reason of a button either.
    return [
        replace(each, reasons=[text.replace(request.get_state_display(), shown) for text in each.reasons])
        for each in every
    ]


def _decisions(request: ErasureRequest, viewer: Actor) -> list[Button]:
    found = sum(int(each.get("found", 0)) for each in request.preview.values())
    return [
        Button(
            "approve", "Approve the erasure",
            f"{found:,} records in {len(request.preview)} systems, as counted below. It starts by itself.",
            deciding.check_approve(request, actor=viewer, digest=request.digest, password_checked=True),
            ("password",), "primary",
        ),
        Button(
            "reject", "Reject the request", "The requester is told the reason and their remedies (Art. 12(4)).",
            deciding.check_reject(request, actor=viewer, reason=_TYPED), ("reason", "password"), "danger",
        ),
        Button(
            "extend", "Extend the deadline", "Once; the requester is told why (Art. 12(3)).",
            deciding.check_extend(request, actor=viewer, reason=_TYPED), ("reason",),
        ),
        Button(
            "cancel", "Cancel the request", "What was erased already stays erased.",
            deciding.check_cancel(request, actor=viewer), ("reason?",), "danger",
        ),
        Button(
            "retry", "Retry what failed", "What was done already is kept.",
            [*lacks(viewer, *MAY_STEER), *actions.check_retry(request)], ("system",),
        ),
    ]  # fmt: skip


def _rarer(request: ErasureRequest, viewer: Actor) -> list[Button]:
    tomorrow = timezone.now() + timedelta(days=1)
    return [
        Button(
            "preview", "Count again", "Looks into every system now. A changed plan voids approvals.",
            check_preview(request, viewer),
        ),
        Button(
            "around_hold", "Erase around the held users", "Held users stay untouched, the rest is erased after new approvals.",
            deciding.check_choose_around_hold(request, actor=viewer, reason=_TYPED), ("reason",),
        ),
        Button(
            "delay", "Delay by contract", "A contract delays an offboarding; approvals are asked for anew.",
            deciding.check_delay(request, actor=viewer, until=tomorrow, reason=_TYPED), ("until", "reason"),
        ),
    ]  # fmt: skip


def check_preview(request: ErasureRequest, viewer: Actor) -> list[str]:
    """Why it is not counted again."""
    reasons = lacks(viewer, *MAY_STEER)
    if request.state not in (S.RECEIVED, S.VALIDATED, S.AWAITING_APPROVAL, S.BLOCKED_BY_HOLD, S.RETAINED):
        reasons.append(
            f"Request {request.pk} is {statements.shown_state(request)}; it is counted before approval."
        )
    elif request.state == S.BLOCKED_BY_HOLD and request.resume_state in states.APPROVED:
        reasons.append("It is under way; it is counted again when it goes on.")
    return reasons
