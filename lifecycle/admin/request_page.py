"""What the page of a request shows: read from rows, nothing in clear."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils import timezone

from compliance import statements
from compliance.access import lacks
from compliance.actions import deciding
from compliance.actors import COMPLIANCE, LEGAL, Actor
from compliance.judgement import Judgement, judge
from compliance.models import AuditEvent, ErasureRequest, LegalHold
from compliance.templatetags.desks import spaced
from lifecycle.admin import buttons
from lifecycle.erasure import status
from lifecycle.systems.base import SYSTEMS

S = ErasureRequest.State
_MOVING = frozenset(
    {
        S.RECEIVED,
        S.VALIDATED,
        S.SCHEDULED,
        S.EXECUTING,
        S.VERIFYING,
        S.CERTIFYING,
        S.REOPENED,
        S.BLOCKED_BY_HOLD,
        S.FAILED,
    }
)
_NEXT = {
    S.RECEIVED: "The systems have not been counted yet. If this stays, press “Count again”.",
    S.VALIDATED: "The systems are being counted.",
    S.SCHEDULED: "Approved. A worker takes it up within a minute.",
    S.EXECUTING: "The seven systems are being erased. This page follows by itself.",
    S.VERIFYING: "An independent verifier looks for what is left.",
    S.CERTIFYING: "Everything was verified; the certificate is being signed and stored.",
    S.COMPLETED: "Done, verified and certified. The certificate is below.",
    S.PARTIALLY_COMPLETED: "Done but for what is kept on a legal ground; the certificate names it.",
    S.RETAINED: "All of it is kept on a legal ground. It is taken up again when that ends.",
    S.REOPENED: "Something came due or came back; it is erased and certified again.",
    S.REJECTED: "Rejected. The requester was told why.",
    S.CANCELLED: "Cancelled.",
}
_ROLE_WORDS = {"compliance": "a compliance officer", "legal": "legal"}


def of(request: ErasureRequest, viewer: Actor) -> dict[str, Any]:
    """The whole page."""
    judged = judge(request, categories=request.plan.get("retained", {}), at=timezone.now())
    return {
        "next": _next(request, viewer),
        "tone": "hold"
        if statements.shown_code(request, viewer) in (S.BLOCKED_BY_HOLD, S.RETAINED, S.PARTIALLY_COMPLETED)
        else "",
        "open": request.state in _MOVING or request.state == S.AWAITING_APPROVAL,
        "buttons": buttons.of(request, viewer),
        "lanes": SYSTEMS,
        "may_read": not lacks(viewer, COMPLIANCE, LEGAL) and request.closed_at is None,
        "previewed": _previewed(request),
        "holds": _holds(judged, viewer),
        "kept": sorted(request.plan.get("retained", {}).items()),
        **_kept_by_holds(judged, viewer),
        "delayed_until": judged.delayed_until,
        "decisions": request.decisions.select_related("user"),
        "missing": [_ROLE_WORDS[role] for role in deciding.missing_roles(request)]
        if request.state == S.AWAITING_APPROVAL
        else [],
        "mentions": request.mentions.order_by("choice", "id")[:20],
        "mentions_total": request.mentions.count(),
        "recipients": request.recipients.select_related("settled_by"),
        "certificates": request.certificates.order_by("-number").defer(
            "document", "pdf", "seal", "signatures"
        ),
        "timeline": timeline(request, viewer),
        **live(request, viewer),
    }


def live(request: ErasureRequest, viewer: Actor) -> dict[str, Any]:
    """The part that is asked for every two seconds while it moves."""
    facts = status.of(request)
    pending = request.recipients.filter(state="pending").count()
    return {
        "row": request,
        "shown": statements.shown_code(request, viewer),
        "state_words": statements.shown_state(request, viewer),
        "facts": facts,
        "polls": request.state in _MOVING,
        "pending_recipients": pending,
        "bystander_groups": sum(facts["bystanders"].values()),
        # What a page was made for: another value means that the rest of it is out of date.
        "token": f"{statements.shown_code(request, viewer)}.{facts['open_mentions']}.{pending}.{facts['certificate']}",
    }


def timeline(request: ErasureRequest, viewer: Actor) -> list[dict[str, Any]]:
    """The newest hundred audit events of a request but for its run's steps, newest first: words, actor, at, data."""
    veil = statements.veil(viewer)
    events = (
        AuditEvent.objects.filter(case_id=request.pk).exclude(verb__startswith="step.").order_by("-seq")[:100]
    )
    return [
        {
            "words": f"request: {statements.RETAINED}" if veil.covers(each) else spaced(each.verb),
            "actor": each.actor,
            "at": each.at,
            "data": {} if veil.covers(each) else each.data,
        }
        for each in events
    ]


def _next(request: ErasureRequest, viewer: Actor) -> str:
    if request.state == S.AWAITING_APPROVAL:
        waits = " and ".join(_ROLE_WORDS[role] for role in deciding.missing_roles(request))
        mine = not deciding.check_approve(request, actor=viewer, digest=request.digest, password_checked=True)
        return f"It waits for {waits}." + (
            " That can be you: check the counts and the holds, then approve or reject." if mine else ""
        )
    if statements.shown_code(request, viewer) == S.RETAINED and request.state != S.RETAINED:
        return "Nothing is destroyed for now: it is retained under Art. 17(3). It goes on by itself when that ends."
    if request.state == S.BLOCKED_BY_HOLD:
        return "Nothing is destroyed while a hold stands. It goes on by itself when the last one ends."
    if request.state == S.FAILED:
        return "Something failed; the table names it. Press “Retry what failed” once the cause is gone."
    return str(_NEXT.get(S(request.state), ""))


def _previewed(request: ErasureRequest) -> list[dict[str, Any]]:
    ordered = [name for name in SYSTEMS if name in request.preview]
    return [
        {
            "system": name,
            "found": request.preview[name].get("found", 0),
            "kinds": sorted(request.preview[name].get("kinds", {}).items()),
            "actions": request.preview[name].get("actions", {}),
        }
        for name in ordered
    ]


def _kept_by_holds(judged: Judgement, viewer: Actor) -> dict[str, Any]:
    """Categories and the number of users that holds keep, as far as the viewer may know of these holds."""

    def told(holds: Iterable[LegalHold]) -> list[LegalHold]:
        return [each for each in holds if statements.sees_all(viewer) or not each.hidden]

    return {
        "held_categories": sorted({each.category for each in told(judged.category_holds)}),
        "held_users": len({each.subject_pseudonym for each in told(judged.held_user_holds)}),
    }


def _holds(judged: Judgement, viewer: Actor) -> list[dict[str, Any]]:
    every = {hold.pk: hold for hold in (*judged.holds, *judged.held_user_holds, *judged.category_holds)}
    stopping = {hold.pk for hold in judged.holds}
    shown = []
    for hold in every.values():
        clear = statements.sees_all(viewer) or not hold.hidden
        shown.append(
            {
                "words": statements.of_hold(hold, viewer),
                "state": hold.state if clear else "retained",
                "label": hold.get_state_display() if clear else statements.RETAINED,
                "placed_at": hold.placed_at if clear else None,
                "until": hold.until if clear else None,
                "id": hold.pk if clear else "",
                "stops": hold.pk in stopping,
            }
        )
    return shown
