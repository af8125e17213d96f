"""Certificates: issued exactly once, stored under lock, mailed; addenda and corrections; the escrow of the salt."""

from __future__ import annotations

import hashlib
import smtplib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from compliance import audit, cases, keystore, statements
from compliance.access import lacks
from compliance.actors import COMPLIANCE, LEGAL, SYSTEM_ROLE, Actor
from compliance.certificate import bundle, canonical, document, mail, seal, signing, store
from compliance.certificate import evidence as rules
from compliance.certificate.document import Identity
from compliance.errors import Refused, refuse_if
from compliance.keystore import KeyDestroyed, KeyMissing
from compliance.models import Certificate, ErasureRequest, SaltEscrow
from compliance.models.base import new_id
from compliance.sealing import seal as sealed_under
from compliance.sealing import unseal

# Held while a number of the chain is taken, so that numbers have no gap and each certificate seals the one before.
CHAIN_LOCK = 0x6365_7274_6368_61
Kind = Certificate.Kind
_States = ErasureRequest.State


@dataclass(frozen=True, slots=True)
class _Occasion:
    """What makes a certificate one of a kind: a second call for the same gets the first one's certificate."""

    request: ErasureRequest
    kind: str
    round: int
    name: str = ""
    salt: bytes | None = None


def check_issue(
    request: ErasureRequest, *, actor: Actor, evidence: Mapping[str, Any], kind: str = Kind.CERTIFICATE
) -> list[str]:
    """Why no certificate may be issued for `request` on this evidence."""
    reasons = lacks(actor, SYSTEM_ROLE, COMPLIANCE)
    if kind not in (Kind.CERTIFICATE, Kind.ADDENDUM):
        reasons.append("A round of erasing ends with a certificate or an addendum. Choose one of them.")
    if request.state != _States.CERTIFYING:
        reasons.append(
            f"Request {request.pk} is {statements.shown_state(request)}. Certify it once it stands at certifying."
        )
    if (evidence.get("request") or {}).get("id") != request.pk:
        reasons.append("The evidence is of another request. Collect the evidence of this one.")
    return reasons + rules.problems(document.textual(evidence))


def issue(
    request: ErasureRequest,
    *,
    actor: Actor,
    evidence: Mapping[str, Any],
    kind: str = Kind.CERTIFICATE,
    salt: bytes | None = None,
) -> Certificate:
    """The certificate of one round of `request`, stored under lock: made now, or the one made before.

    Exactly one per (request, round), also under concurrency and after a crash between signing and storing. `salt` is the
    one of evidence["request"]["subject_commitment"]; a sealed copy is escrowed. Raises Refused, StoreFailed.
    """
    occasion = _Occasion(request, kind, int(evidence.get("round", 0)), salt=salt)

    def build(identity: Identity) -> dict[str, Any]:
        request.refresh_from_db()
        refuse_if(check_issue(request, actor=actor, evidence=evidence, kind=kind))
        return document.build(evidence, identity)

    return _settled(occasion, build, actor=actor)


def check_addendum(request: ErasureRequest, *, actor: Actor) -> list[str]:
    """Why no addendum or correction may be added to the request's certificates."""
    reasons = lacks(actor, SYSTEM_ROLE, COMPLIANCE)
    if not request.certificates.exists():
        reasons.append(f"Request {request.pk} has no certificate yet, so there is nothing to add to.")
    return reasons


def addendum(request: ErasureRequest, *, actor: Actor, closed: list[dict[str, Any]]) -> Certificate:
    """Closes provider-pending items: [{system, environment, until, observed_at, how}]. The same items give the same one."""
    refuse_if(check_addendum(request, actor=actor))
    names = sorted(f"{item.get('system')}/{item.get('environment')}/{item.get('until')}" for item in closed)
    occasion = _Occasion(
        request, Kind.ADDENDUM, 0, f"closed {canonical.sha256(canonical.encode(names))[:32]}"
    )
    text = "What a provider still kept when the certificate was issued is gone, as listed below."
    return _settled(
        occasion,
        lambda identity: document.build_closing(_closing(request, text, closed), identity),
        actor=actor,
    )


def correct(certificate: Certificate, *, actor: Actor, statement: str) -> Certificate:
    """Corrects a wrong certificate by a further one; neither is edited. `statement` is public: no personal data."""
    request = certificate.request
    refuse_if(check_addendum(request, actor=actor))
    occasion = _Occasion(request, Kind.CORRECTION, 0, f"corrects {certificate.pk}")
    reference = _reference(certificate)

    def build(identity: Identity) -> dict[str, Any]:
        return document.build_closing(_closing(request, statement, []) | {"corrects": reference}, identity)

    return _settled(occasion, build, actor=actor)


def finish_storing(*, actor: Actor) -> int:
    """Stores every certificate that a crash left unstored; returns how many. For the sweeper."""
    waiting = list(Certificate.objects.filter(stored_at=None))
    for certificate in waiting:
        _store(certificate, actor=actor)
    return len(waiting)


def deliver(certificate: Certificate, *, actor: Actor) -> bool:
    """Mails the files and the salt to the requester, once. True when the mail is out, now or before.

    A mail server that fails makes it False and nothing else: `deliver_due` tries again. The message id is the
    certificate's, so that a mail repeated after a crash shows as the same one. Raises Refused before it is stored.
    """
    if certificate.stored_at is None:
        raise Refused(
            f"Certificate {certificate.pk} is not in the locked bucket yet. Store it before it is mailed."
        )
    with transaction.atomic():
        row = (
            Certificate.objects.select_for_update(of=("self",))
            .select_related("request")
            .get(pk=certificate.pk)
        )
        if row.delivered_at is not None:
            return True
        try:
            address = cases.read(row.request)["requested_by"]
            mail.compose(row, address, _salt(row)).send(fail_silently=False)
        except (OSError, smtplib.SMTPException, KeyDestroyed, KeyMissing):
            return False
        row.delivered_at = timezone.now()
        row.save(update_fields=["delivered_at"])
        _record("certificate.delivered", row, actor)
    certificate.delivered_at = row.delivered_at
    return True


def deliver_due(*, actor: Actor) -> int:
    """Mails every stored certificate whose mail is not out; returns how many went out. For the sweeper."""
    waiting = Certificate.objects.filter(delivered_at=None, request__closed_at=None).exclude(stored_at=None)
    return sum(deliver(certificate, actor=actor) for certificate in list(waiting))


def check_ask_salt(certificate: Certificate, *, actor: Actor) -> list[str]:
    """Why the actor may not ask for the escrowed salt."""
    reasons = lacks(actor, COMPLIANCE, LEGAL)
    if not SaltEscrow.objects.filter(certificate=certificate).exists():
        reasons.append(f"No salt of certificate {certificate.pk} is in escrow.")
    return reasons


def ask_salt(certificate: Certificate, *, actor: Actor) -> SaltEscrow:
    """The first of two people: asks that the salt be opened."""
    with transaction.atomic():
        refuse_if(check_ask_salt(certificate, actor=actor))
        escrow = SaltEscrow.objects.select_for_update().get(certificate=certificate)
        escrow.asked_by_id, escrow.asked_at = actor.user_id, timezone.now()
        escrow.opened_by, escrow.opened_at = None, None
        escrow.save()
        _record("certificate.salt_asked", certificate, actor)
    return escrow


def check_open_salt(escrow: SaltEscrow, *, actor: Actor) -> list[str]:
    """Why the actor may not open the salt now."""
    reasons = lacks(actor, COMPLIANCE, LEGAL)
    if escrow.asked_by_id is None or escrow.opened_at is not None:
        reasons.append(
            "Nobody has asked for this salt since it was last opened. Ask first; another person opens it."
        )
    elif escrow.asked_by_id == actor.user_id:
        reasons.append("You asked for this salt yourself. Another person opens it.")
    return reasons


def open_salt(escrow: SaltEscrow, *, actor: Actor) -> str:
    """The second of two people: the salt in hexadecimal. Each opening needs its own asking."""
    with transaction.atomic():
        escrow = (
            SaltEscrow.objects.select_for_update(of=("self",))
            .select_related("certificate__request")
            .get(pk=escrow.pk)
        )
        refuse_if(check_open_salt(escrow, actor=actor))
        salt = _salt(escrow.certificate)
        escrow.opened_by_id, escrow.opened_at = actor.user_id, timezone.now()
        escrow.save()
        _record("certificate.salt_opened", escrow.certificate, actor)
    return salt.hex() if salt else ""


def _settled(
    occasion: _Occasion, build: Callable[[Identity], dict[str, Any]], *, actor: Actor
) -> Certificate:
    """The certificate of an occasion, made where there is none, and in the locked bucket when this returns."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHAIN_LOCK])
        found = Certificate.objects.filter(
            request=occasion.request, round=occasion.round, occasion=occasion.name
        ).first()
        certificate = found or _make(occasion, build, actor=actor)
    if certificate.stored_at is None:
        _store(certificate, actor=actor)
    return certificate


def _make(occasion: _Occasion, build: Callable[[Identity], dict[str, Any]], *, actor: Actor) -> Certificate:
    signer, now = signing.default(), timezone.now().replace(microsecond=0)
    before = Certificate.objects.order_by("-number").first()
    last = occasion.request.certificates.order_by("-number").first()
    identity = Identity(
        id=new_id("dc"),
        number=before.number + 1 if before else 1,
        kind=str(occasion.kind),
        issued_at=canonical.rfc3339(now),
        issuer=settings.CERTIFICATE_ISSUER,
        fingerprint=signer.fingerprint,
        previous_seal=before.seal_hash if before else None,
        refers_to=_reference(last) if last else None,
    )
    # Imported here: WeasyPrint's libraries take longest to load of all, and only this needs them.
    from compliance.certificate import rendering

    made = build(identity)
    data, pdf, public_key = canonical.encode(made), rendering.render(made), signer.public_key()
    sealed = seal.build(made, data=data, pdf=pdf, public_key=public_key.encode())
    signatures = {
        "json": signer.sign(data),
        "pdf": signer.sign(pdf),
        "seal": signer.sign(sealed),
        "public_key": public_key,
    }
    certificate = Certificate.objects.create(
        id=identity.id, number=identity.number, request=occasion.request, kind=occasion.kind, round=occasion.round,
        occasion=occasion.name, previous=before, document=data, pdf=pdf, seal=sealed, signatures=signatures,
        seal_hash=canonical.sha256(sealed), fingerprint=signer.fingerprint, issued_at=now,
    )  # fmt: skip
    if occasion.salt:
        key = keystore.default().get_or_create(_escrow_key(certificate))
        SaltEscrow.objects.create(
            certificate=certificate, sealed=sealed_under(key, occasion.salt, _escrow_key(certificate))
        )
    _record(
        "certificate.issued",
        certificate,
        actor,
        json_sha256=canonical.sha256(data),
        pdf_sha256=canonical.sha256(pdf),
    )
    return certificate


def _store(certificate: Certificate, *, actor: Actor) -> None:
    """Puts the files into the locked bucket, then says so; a crash in between is made good by the next call."""
    until = store.lock_end(certificate.issued_at)
    store.put(f"certificates/{certificate.number:08d}-{certificate.pk}", bundle.files(certificate), until)
    now = timezone.now()
    with transaction.atomic():
        changed = Certificate.objects.filter(pk=certificate.pk, stored_at=None).update(
            stored_at=now, locked_until=until
        )
        if changed:
            _record("certificate.stored", certificate, actor, locked_until=canonical.rfc3339(until))
    certificate.refresh_from_db(fields=["stored_at", "locked_until"])


def _record(verb: str, certificate: Certificate, actor: Actor, **data: Any) -> None:
    request = certificate.request
    facts = {
        "certificate": certificate.pk,
        "number": certificate.number,
        "seal": certificate.seal_hash,
        **data,
    }
    audit.record(verb, actor=actor, tenant_id=request.tenant_id, case_id=request.pk, data=facts)


def _reference(certificate: Certificate) -> dict[str, Any]:
    return {"id": certificate.pk, "number": certificate.number, "seal": certificate.seal_hash}


def _closing(request: ErasureRequest, statement: str, closed: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "request": {"id": request.pk, "tenant": request.tenant_id},
        "as_of": canonical.rfc3339(timezone.now()),
        "statement": statement,
        "closed": closed,
        "software": document.SOFTWARE,
    }


def _escrow_key(certificate: Certificate) -> str:
    return f"escrow/{certificate.pk}"


def _salt(certificate: Certificate) -> bytes | None:
    escrow = SaltEscrow.objects.filter(certificate=certificate).first()
    if escrow is None:
        return None
    return unseal(keystore.default().get(_escrow_key(certificate)), escrow.sealed, _escrow_key(certificate))


def commitment(salt: bytes, tenant: str, user: str | None) -> str:
    """SHA-256 of salt, tenant, a zero byte and user: what a certificate holds in place of a name."""
    return hashlib.sha256(salt + f"{tenant}\0{user or ''}".encode()).hexdigest()
