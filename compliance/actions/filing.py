"""Taking a request in: who may ask, the case key, the clock. Touches no system."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import transaction
from django.utils import timezone

from compliance import audit, cases, deadlines, pseudonyms, signed, statements
from compliance.actions import notices, states
from compliance.actors import AUDITOR, Actor
from compliance.errors import refuse_if
from compliance.keystore import default as keystore
from compliance.models import ErasureRequest
from compliance.models.base import new_id

GROUNDS = "abcdef"
_CLOCK_SKEW = timedelta(minutes=5)


def check_file_request(
    *,
    actor: Actor,
    tenant_id: str,
    requested_by: str,
    user: str | None = None,
    regime: str = "gdpr17",
    ground: str = "b",
    received_at: datetime | None = None,
    signature: str | None = None,
) -> list[str]:
    """Why this request can't be filed; empty where it can."""
    if not apps.get_model("lifecycle", "Tenant").objects.filter(pk=tenant_id).exists():
        return [f"There is no tenant {tenant_id}."]
    reasons = _form(regime, ground, received_at)
    if actor.roles == {AUDITOR}:
        reasons.append("An auditor reads everything and changes nothing; somebody else must file this.")
    if not reasons:
        reasons += _authority(tenant_id, user, requested_by, regime, received_at, signature)
    if not reasons:
        reasons += _already_open(tenant_id, user)
    return reasons


def file_request(
    *,
    actor: Actor,
    tenant_id: str,
    requested_by: str,
    user: str | None = None,
    regime: str = "gdpr17",
    ground: str = "b",
    received_at: datetime | None = None,
    reason: str = "",
    signature: str | None = None,
) -> ErasureRequest:
    """Files a request about one user, or about the whole tenant where `user` is empty; state `received`.

    `requested_by` is a mail address: of an admin of the tenant, or of the person themself with a `signature`
    (compliance.signed). `received_at` starts the clock (now where it is not given). Raises Refused.
    """
    user = user or None
    facts: dict[str, Any] = {
        "tenant_id": tenant_id,
        "user": user,
        "requested_by": requested_by,
        "regime": regime,
    }
    refuse_if(
        check_file_request(actor=actor, ground=ground, received_at=received_at, signature=signature, **facts)
    )
    request_id = new_id("er")
    received = received_at or timezone.now()
    keystore().create(cases.key_name(request_id))
    try:
        with transaction.atomic():
            return _create(request_id, received, ground, reason, actor, facts)
    except BaseException:
        keystore().destroy(cases.key_name(request_id))
        raise


def _create(
    request_id: str, received: datetime, ground: str, reason: str, actor: Actor, facts: dict[str, Any]
) -> ErasureRequest:
    tenant_id, user, regime = facts["tenant_id"], facts["user"], facts["regime"]
    request = ErasureRequest(
        id=request_id,
        tenant_id=tenant_id,
        subject_kind=ErasureRequest.Subject.USER if user else ErasureRequest.Subject.TENANT,
        subject_pseudonym=pseudonyms.of_user(tenant_id, user),
        regime=regime,
        ground=ground,
        requester_pseudonym=pseudonyms.of_mail(facts["requested_by"]),
        filed_by_id=actor.user_id,
        received_at=received,
        deadline=deadlines.deadline(regime, received),
    )
    content = {
        "user": user or "",
        "requested_by": facts["requested_by"].strip(),
        "reason": reason,
        "identifiers": {},
    }
    request.sealed = cases.write(request, content)
    _, request.reason_hash = cases.seal_reason(request, reason)
    request.save(force_insert=True)
    notices.schedule(request)
    if regime == ErasureRequest.Regime.ART28:
        notices.add(request, "offer")
    confirm_by = deadlines.confirm_by(regime, received)
    if confirm_by is not None:
        notices.add(request, "confirmation", detail={"by": confirm_by.isoformat()})
    data = {
        "regime": regime,
        "ground": ground,
        "subject": request.subject_kind,
        "deadline": audit.stamp(request.deadline),
    }
    audit.record(
        "request.received",
        actor=actor,
        tenant_id=tenant_id,
        case_id=request.pk,
        data={**data, "reason_hash": request.reason_hash},
    )
    return request


def _form(regime: str, ground: str, received_at: datetime | None) -> list[str]:
    reasons = []
    if regime not in deadlines.REGIMES:
        reasons.append(f"There is no regime {regime}; give one of {', '.join(deadlines.REGIMES)}.")
    if len(ground) != 1 or ground not in GROUNDS:
        reasons.append("The ground is a letter of Art. 17(1): a to f.")
    if received_at is not None and timezone.is_naive(received_at):
        reasons.append("The time of receipt needs a time zone, as in 2026-01-31T12:00:00Z.")
    elif received_at is not None and received_at > timezone.now() + _CLOCK_SKEW:
        reasons.append("The time of receipt lies in the future.")
    return reasons


def _authority(
    tenant_id: str,
    user: str | None,
    requested_by: str,
    regime: str,
    received_at: datetime | None,
    signature: str | None,
) -> list[str]:
    if "@" not in requested_by:
        return ["The requester is named by a mail address."]
    contacts = apps.get_model("lifecycle", "Contact").objects.filter(tenant_id=tenant_id, role="admin")
    if not signature:
        if contacts.filter(mail_hmac=pseudonyms.of_mail(requested_by)).exists():
            return []
        return [f"The requester is no admin of tenant {tenant_id}, and the request is not signed."]
    if not user:
        return ["A signed request is one person's own; a whole tenant is erased at the request of its admin."]
    if received_at is None:
        return ["A signed request states when it was made: give the time of receipt that was signed."]
    pems = [*contacts.values_list("public_key", flat=True), *signed.platform_keys()]
    text = signed.message(tenant_id, user, regime, received_at)
    if signed.genuine(signature, text, signed.public_keys(pems)):
        return []
    return [
        "The signature is not genuine: no known key signed this tenant, user, regime and time of receipt."
    ]


def _already_open(tenant_id: str, user: str | None) -> list[str]:
    subject = pseudonyms.of_user(tenant_id, user)
    same = ErasureRequest.objects.filter(
        tenant_id=tenant_id, subject_pseudonym=subject, state__in=states.OPEN
    ).first()
    return (
        [f"Request {same.pk} about the same subject is open already ({statements.shown_state(same)})."]
        if same
        else []
    )
