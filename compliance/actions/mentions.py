"""Mentions: somebody else's data names the person. An officer decides each before certification."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from compliance import audit, cases, statements
from compliance.access import lacks
from compliance.actions import states
from compliance.actors import COMPLIANCE, LEGAL, Actor
from compliance.errors import refuse_if
from compliance.models import ErasureRequest, Mention
from compliance.sealing import seal_json, unseal_json

Choice = Mention.Choice
CHOICES = (Choice.ERASE, Choice.REDACT, Choice.NOT_THIS_PERSON)


def open(request: ErasureRequest, *, actor: Actor, hits: Iterable[Mapping[str, Any]]) -> int:
    """Keeps each hit ({system, environment, kind, key, place, needle, excerpt}) once, sealed; returns how many are new.

    A place that was decided as erased or redacted and is hit again opens again.
    """
    key = cases.key_of(request)
    new = 0
    with transaction.atomic():
        for hit in hits:
            place = "\0".join(str(hit[name]) for name in ("system", "environment", "kind", "key"))
            mention, made = Mention.objects.get_or_create(
                request=request,
                # Keyed with the case key: after the case is closed nobody can try places against it.
                place_hash=hmac.new(key, place.encode(), "sha256").hexdigest(),
                defaults={
                    "system": hit["system"],
                    "environment": hit["environment"],
                    "sealed": seal_json(
                        key, {name: hit.get(name, "") for name in _KEPT}, f"mention/{request.pk}"
                    ),
                },
            )
            if not made and mention.choice == Choice.DONE:
                Mention.objects.filter(pk=mention.pk).update(choice=Choice.OPEN)
                made = True
            new += made
        if new:
            audit.record(
                "mention.opened",
                actor=actor,
                tenant_id=request.tenant_id,
                case_id=request.pk,
                data={"count": new},
            )
    return new


_KEPT = ("kind", "key", "place", "needle", "excerpt")


def check_read(request: ErasureRequest, *, actor: Actor) -> list[str]:
    """Why the actor may not see the request's mentions in clear; empty where they may."""
    reasons = lacks(actor, COMPLIANCE, LEGAL)
    if request.closed_at is not None:
        reasons.append(f"Request {request.pk} is closed; its mentions can't be read by anyone any more.")
    return reasons


def read(request: ErasureRequest, *, actor: Actor) -> list[dict[str, Any]]:
    """{id, system, environment, choice, kind, key, place, needle, excerpt} of each, in clear; the look is audited.
    Raises Refused."""
    refuse_if(check_read(request, actor=actor))
    found = []
    for mention in request.mentions.all():
        facts = {
            "id": mention.pk,
            "system": mention.system,
            "environment": mention.environment,
            "choice": mention.choice,
        }
        content = (
            unseal_json(cases.key_of(request), mention.sealed, f"mention/{request.pk}")
            if mention.sealed
            else {}
        )
        found.append({**facts, **content})
    audit.record_now(
        "mention.read",
        actor=actor,
        tenant_id=request.tenant_id,
        case_id=request.pk,
        data={"count": len(found)},
    )
    return found


def check_decide(mention: Mention, *, actor: Actor, choice: str) -> list[str]:
    """Why the actor can't decide so; empty where they can."""
    reasons = lacks(actor, COMPLIANCE, LEGAL)
    if actor.user_id is None:
        reasons.append("A mention is decided by a named person.")
    if choice not in CHOICES:
        reasons.append(f"The choices are {', '.join(CHOICES)}.")
    if mention.choice == Choice.DONE:
        reasons.append("This mention was carried out already.")
    if mention.request.state not in states.OPEN:
        reasons.append(
            f"Request {mention.request_id} is {statements.shown_state(mention.request, actor)}; nothing is decided any more."
        )
    return reasons


def decide(mention: Mention, *, actor: Actor, choice: str) -> Mention:
    """Records the choice: erase, redact, or not this person. Raises Refused."""
    with transaction.atomic():
        row = _locked(mention)
        refuse_if(check_decide(row, actor=actor, choice=choice))
        row.choice = row.decided_as = choice
        row.decided_by_id, row.decided_at = actor.user_id, timezone.now()
        row.save(update_fields=["choice", "decided_as", "decided_by", "decided_at"])
        request = row.request
        data = {"mention": row.pk, "choice": choice}
        audit.record(
            "mention.decided", actor=actor, tenant_id=request.tenant_id, case_id=request.pk, data=data
        )
    mention.refresh_from_db()
    return mention


def done(mention: Mention, *, actor: Actor) -> Mention:
    """What was chosen has been carried out."""
    with transaction.atomic():
        row = _locked(mention)
        if row.choice not in (Choice.ERASE, Choice.REDACT):
            refuse_if([f"Mention {row.pk} is {row.get_choice_display()}; there is nothing to carry out."])
        row.choice = Choice.DONE
        row.save(update_fields=["choice"])
        request = row.request
        audit.record(
            "mention.done",
            actor=actor,
            tenant_id=request.tenant_id,
            case_id=request.pk,
            data={"mention": row.pk},
        )
    mention.refresh_from_db()
    return mention


def _locked(mention: Mention) -> Mention:
    return Mention.objects.select_for_update(of=("self",)).select_related("request").get(pk=mention.pk)
