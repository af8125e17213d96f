"""Sentences for people about holds, retention and remedies. A hidden hold is told in full to `legal` only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from compliance.actors import LEGAL, Actor
from compliance.models import AuditEvent, ErasureRequest, LegalHold

RETAINED = "retained under Art. 17(3)"
HIDDEN = Q(confidential=True) | Q(type=LegalHold.Type.CRIMINAL)
REMEDIES = (
    "You can lodge a complaint with a supervisory authority (Art. 77 GDPR), in particular where you live, work, or where "
    "you think the infringement happened, and you can go to court (Art. 79 GDPR)."
)
GROUNDS = {
    "a": "Art. 17(3)(a): freedom of expression and information",
    "b": "Art. 17(3)(b): a legal obligation",
    "c": "Art. 17(3)(c): public health",
    "d": "Art. 17(3)(d): archiving, research or statistics",
    "e": "Art. 17(3)(e): legal claims",
}


def sees_all(viewer: Actor | None) -> bool:
    """True for `legal`."""
    return viewer is not None and viewer.has(LEGAL)


def of_hold(hold: LegalHold, viewer: Actor | None = None) -> str:
    """One hold in a few words."""
    if hold.hidden and not sees_all(viewer):
        return RETAINED
    scope = f", category {hold.category}" if hold.category else ""
    return f"legal hold {hold.pk} ({hold.get_type_display()}{scope})"


def of_holds(holds: Iterable[LegalHold], viewer: Actor | None = None) -> str:
    """Why something is blocked; without a viewer in the words that everyone may read."""
    words = sorted({of_hold(hold, viewer) for hold in holds})
    return f"Nothing is destroyed: {'; '.join(words)}." if words else ""


def visible_holds(viewer: Actor | None) -> QuerySet[LegalHold]:
    """The holds that a viewer may know of: all for legal, the rest without hidden ones. Every door lists, shows and releases
    only these, so that a hidden one can't be told from one that never was; what it stops says `RETAINED`, nothing more."""
    holds: QuerySet[LegalHold] = LegalHold.objects.select_related("tenant")
    return holds if sees_all(viewer) else holds.exclude(HIDDEN)


@dataclass(frozen=True, slots=True)
class Veil:
    """The holds that a viewer may know nothing of: their ids and tenants; empty for legal."""

    holds: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()

    def covers(self, event: AuditEvent) -> bool:
        """True where an audit event's content is not shown: it is of a hidden hold, names one, or tells that one stopped
        something."""
        if not self.holds:
            return False
        data = event.data if isinstance(event.data, dict) else {}
        named = data.get("holds", [])
        told = _BLOCKED in (data.get("from"), data.get("to"), event.verb.removeprefix("request."))
        return (
            event.case_id in self.holds
            or (isinstance(named, list) and not self.holds.isdisjoint(map(str, named)))
            or (told and event.tenant_id in self.tenants)
        )


_BLOCKED = str(ErasureRequest.State.BLOCKED_BY_HOLD)


def veil(viewer: Actor | None) -> Veil:
    """What the audit trail does not tell this viewer."""
    if sees_all(viewer):
        return Veil()
    hidden = LegalHold.objects.filter(HIDDEN)
    rows = list(hidden.values_list("pk", "tenant_id"))
    return Veil(frozenset(pk for pk, _ in rows), frozenset(tenant for _, tenant in rows))


def describe_hold(hold: LegalHold, viewer: Actor | None = None) -> dict[str, Any]:
    """One hold as JSON values. Outside legal a hidden one says no more than that something is retained."""
    if hold.hidden and not sees_all(viewer):
        return {"what": RETAINED, "state": "retained"}
    return {
        "id": hold.pk,
        "tenant": hold.tenant_id,
        "what": of_hold(hold, viewer),
        "state": hold.state,
        "placed_at": _at(hold.placed_at),
        "scope": "user" if hold.subject_pseudonym else "tenant",
        "subject": hold.subject_pseudonym,
        "category": hold.category,
        "case": hold.case_reference,
        "type": hold.type,
        "confidential": hold.confidential,
        "until": _at(hold.until),
        "released_at": _at(hold.released_at),
        "preserved": hold.preserved,
        "already_gone": hold.already_gone,
        "in_doubt": hold.in_doubt,
    }


def brief_hold(hold: LegalHold) -> dict[str, Any]:
    """What placing and releasing answer, at every door."""
    return {
        "id": hold.pk,
        "state": hold.state,
        "preserved": hold.preserved,
        "already_gone": hold.already_gone,
        "in_doubt": hold.in_doubt,
    }


def held_time(request: ErasureRequest, now: datetime) -> timedelta:
    """How long holds have stopped the request so far. It is shown; the clock does not stop for it."""
    total, since = timedelta(0), None
    verbs = [
        "request.blocked_by_hold",
        "request.resumed",
        "request.awaiting_approval",
        "request.around_hold",
        "request.cancelled",
        "request.rejected",
    ]
    for event in AuditEvent.objects.filter(case_id=request.pk, verb__in=verbs).order_by("seq"):
        if event.verb == verbs[0]:
            since = since or event.at
        elif since is not None:
            total, since = total + (event.at - since), None
    return total + (now - since) if since is not None else total


def _at(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def shown_code(request: ErasureRequest, viewer: Actor | None = None) -> str:
    """The state as machines read it; what only hidden holds stop is `retained` to others than legal."""
    hidden = shown_state(request, viewer) == RETAINED
    return str(ErasureRequest.State.RETAINED if hidden else request.state)


def shown_state(request: ErasureRequest, viewer: Actor | None = None) -> str:
    """The state in words; a request that only hidden holds stop shows outside legal as retained."""
    if request.state != ErasureRequest.State.BLOCKED_BY_HOLD or sees_all(viewer):
        return request.get_state_display()
    covering = LegalHold.objects.filter(
        tenant_id=request.tenant_id,
        state__in=LegalHold.BLOCKING,
        subject_pseudonym__in=["", request.subject_pseudonym],
    )
    return RETAINED if covering and all(hold.hidden for hold in covering) else request.get_state_display()
