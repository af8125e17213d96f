"""The certificate: evidence, document, signature, locked store, mail; and the ledger that later restores honour."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from compliance import pseudonyms
from compliance.actions import certifying, executing
from compliance.actors import SYSTEM
from compliance.errors import Refused
from compliance.models import ErasureRequest
from lifecycle import tenants
from lifecycle.engine.outcomes import Done, Outcome
from lifecycle.engine.workflow import Context
from lifecycle.erasure import cases, evidence
from lifecycle.erasure.cases import CaseFile
from lifecycle.models import ErasureLedger, SystemLine
from lifecycle.systems.base import Permanent

STATES = ErasureRequest.State


def run(context: Context) -> Outcome:
    """Issues exactly one certificate per round, however often this is interrupted."""
    file = cases.read(context.run)
    if file.request.state in (STATES.EXECUTING, STATES.VERIFYING):
        executing.move(file.request, STATES.CERTIFYING, actor=SYSTEM)
        file.request.refresh_from_db()
    keep_ledger(file)
    _pending(file)
    proof, salt = evidence.build(file)
    kind = "certificate" if file.case.round == 0 else "addendum"
    try:
        certificate = certifying.issue(file.request, actor=SYSTEM, evidence=proof, kind=kind, salt=salt)
    except Refused as refusal:
        raise Permanent(f"The certificate was refused: {' '.join(refusal.reasons)}") from None
    context.heartbeat()
    certifying.deliver(certificate, actor=SYSTEM)
    _complete(file)
    return Done({"certificate": certificate.pk})


def keep_ledger(file: CaseFile) -> None:
    """One keyed HMAC per identifier, so that a restore can't bring the person back unseen."""
    subject = file.scope.subject
    identifiers = [subject.user or "", *subject.mails] if subject.user else [""]
    for identifier in identifiers:
        ErasureLedger.objects.get_or_create(
            tenant_id=subject.tenant,
            identifier_hmac=pseudonyms.ledger_hmac(subject.tenant, identifier),
            case_id=file.request.pk,
            defaults={
                "erased_at": file.case.frozen_at or timezone.now(),
                "keep_until": timezone.now() + timedelta(days=7 * 366),
            },
        )


def _pending(file: CaseFile) -> None:
    """A provider's own later purge has its date on the line."""
    purge = timezone.now() + timedelta(days=settings.PINECONE_PURGE_DAYS)
    file.case.lines.filter(state=SystemLine.State.PENDING_PURGE, purge_by=None).update(purge_by=purge)


def _note_holds(file: CaseFile) -> None:
    """What holds kept, so that the case is reopened for it when they are lifted."""
    kept = {
        "categories": sorted(file.scope.held_categories),
        "users": sorted(file.judgement.held_users) if file.request.around_hold else [],
    }
    file.case.evidence = {**file.case.evidence, "held": kept}
    file.case.save(update_fields=["evidence"])


def _complete(file: CaseFile) -> None:
    if file.request.state != STATES.CERTIFYING:
        return
    retained = sum(file.case.lines.values_list("retained", flat=True))
    gone = sum(file.case.lines.values_list("erased", flat=True)) + sum(
        file.case.lines.values_list("anonymised", flat=True)
    )
    to = STATES.COMPLETED
    if retained:
        to = STATES.PARTIALLY_COMPLETED if gone else STATES.RETAINED
    _note_holds(file)
    if to == STATES.COMPLETED and file.request.subject_kind == ErasureRequest.Subject.TENANT:
        tenants.retire(file.request.tenant, actor=SYSTEM)
    now = timezone.now()
    executing.move(
        file.request,
        to,
        actor=SYSTEM,
        completed_at=now,
        watch_until=now + timedelta(seconds=settings.WATCH_SECONDS),
    )
