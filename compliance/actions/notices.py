"""Mails and reminders that the law or the clock asks for: scheduled with the decision, sent by the sweeper, retried."""

from __future__ import annotations

import smtplib
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from compliance import audit, cases, deadlines, mailing
from compliance.actions import states
from compliance.actors import Actor
from compliance.keystore import KeyDestroyed, KeyMissing
from compliance.models import ErasureRequest, Notice
from compliance.sealing import seal, unseal

REMINDER = "reminder_"
_LONGEST_WAIT = timedelta(hours=6)


def add(
    request: ErasureRequest,
    kind: str,
    *,
    to_requester: bool = True,
    due_at: datetime | None = None,
    detail: dict[str, Any] | None = None,
) -> Notice:
    """Schedules one notice of a kind, once per request; one not sent yet takes the new date and detail.

    Kinds are the templates in templates/mail. Inside the transaction of the decision, before its audit event.
    """
    sealed_to = None
    if to_requester:
        sealed_to = seal(
            cases.key_of(request), cases.read(request)["requested_by"].encode(), f"notice/{request.pk}"
        )
    facts = {"sealed_to": sealed_to, "due_at": due_at or timezone.now(), "detail": detail or {}}
    notice, made = Notice.objects.get_or_create(request=request, kind=kind, defaults=facts)
    if not made and notice.sent_at is None:
        Notice.objects.filter(pk=notice.pk).update(**facts)
    return notice


def again(request: ErasureRequest, kind: str, **facts: Any) -> Notice:
    """The same for what may happen more than once: the second is `KIND_2`."""
    sent = Notice.objects.filter(
        Q(kind=kind) | Q(kind__startswith=f"{kind}_"), request=request, sent_at__isnull=False
    ).count()
    return add(request, kind if not sent else f"{kind}_{sent + 1}", **facts)


def schedule(request: ErasureRequest) -> None:
    """The reminders of the request's deadline, to the compliance officers; idempotent, moved when the deadline moves."""
    now = timezone.now()
    for days, moment in deadlines.reminders(request.deadline):
        if moment > now or days == deadlines.REMINDER_DAYS[-1]:
            add(
                request,
                f"{REMINDER}{days}",
                to_requester=False,
                due_at=max(moment, now),
                detail={"days": days},
            )


def due(now: datetime) -> QuerySet[Notice]:
    """What is to be sent now; no reminder of a request that needs nothing more."""
    waiting = Notice.objects.filter(sent_at=None, due_at__lte=now, request__closed_at=None)
    return waiting.exclude(Q(kind__startswith=REMINDER) & ~Q(request__state__in=states.OPEN)).order_by(
        "due_at"
    )


def unsent(request: ErasureRequest) -> int:
    """How many mails to the requester still wait."""
    return request.notices.filter(sent_at=None).exclude(kind__startswith=REMINDER).count()


def mark_sent(notice: Notice, *, actor: Actor) -> None:
    """Notes that a notice went out. Inside a transaction."""
    notice.sent_at = timezone.now()
    notice.save(update_fields=["sent_at"])
    request = notice.request
    audit.record(
        "notice.sent",
        actor=actor,
        tenant_id=request.tenant_id,
        case_id=request.pk,
        data={"kind": notice.kind},
    )


def send_due(now: datetime, *, actor: Actor) -> int:
    """Sends what is due, each in a transaction of its own; returns how many went out. A failure waits and is tried again."""
    sent = 0
    for key in list(due(now).values_list("pk", flat=True)):
        with transaction.atomic():
            notice = (
                Notice.objects.select_for_update(skip_locked=True, of=("self",))
                .select_related("request")
                .filter(pk=key, sent_at=None)
                .first()
            )
            if notice is not None and _send(notice, now):
                mark_sent(notice, actor=actor)
                sent += 1
    return sent


def _send(notice: Notice, now: datetime) -> bool:
    try:
        mailing.send(notice, _address(notice))
    except (OSError, smtplib.SMTPException, KeyDestroyed, KeyMissing) as failure:
        notice.attempts += 1
        notice.due_at = now + min(timedelta(minutes=2 ** min(notice.attempts, 10)), _LONGEST_WAIT)
        notice.detail = {**notice.detail, "last_failure": type(failure).__name__}
        notice.save(update_fields=["attempts", "due_at", "detail"])
        return False
    return True


def _address(notice: Notice) -> str | None:
    if notice.sealed_to is None:
        return None
    request = notice.request
    return unseal(cases.key_of(request), notice.sealed_to, f"notice/{request.pk}").decode()
