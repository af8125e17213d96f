"""Who may ask for an erasure, and what is kept of it."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core import mail, serializers
from django.utils import timezone

from compliance import cases, pseudonyms, signed
from compliance.actions import notices
from compliance.actors import SYSTEM, Actor
from compliance.errors import Refused
from compliance.keystore import default as keystore
from compliance.models import AuditEvent, ErasureRequest, Notice
from compliance.sealing import SealBroken
from tests.compliance import building

pytestmark = pytest.mark.usefixtures("acme")


def refusal(**facts: Any) -> str:
    before = ErasureRequest.objects.count()
    keys = keystore().names("case/")
    with pytest.raises(Refused) as caught:
        building.filed(**{"user": "u-1", **facts})
    assert ErasureRequest.objects.count() == before
    assert keystore().names("case/") == keys
    return str(caught.value)


def pem(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_strangers_and_nonsense_are_refused(actors: dict[str, Actor]) -> None:
    building.tenant("other")
    assert "no tenant" in refusal(tenant_id="nowhere")
    assert "no admin of tenant acme" in refusal(requested_by="stranger@acme.example")
    assert "mail address" in refusal(requested_by="admin")
    assert "no regime" in refusal(regime="lgpd")
    assert "Art. 17(1)" in refusal(ground="g")
    assert "lies in the future" in refusal(received_at=timezone.now() + timedelta(hours=1))
    assert "time zone" in refusal(received_at=timezone.now().replace(tzinfo=None))
    assert "auditor" in refusal(actor=actors["auditor"])


def test_a_forged_signed_request_is_refused(tmp_path: Path, settings: Any) -> None:
    platform, contact, forger = (Ed25519PrivateKey.generate() for _ in range(3))
    (tmp_path / "platform.pem").write_text(pem(platform))
    settings.REQUEST_PUBLIC_KEYS = [str(tmp_path / "platform.pem")]
    building.tenant("signing", public_key=pem(contact))
    received = timezone.now() - timedelta(days=3)
    facts: dict[str, Any] = {
        "tenant_id": "signing",
        "user": "u-1",
        "requested_by": "ann@home.example",
        "received_at": received,
    }

    def by(key: Ed25519PrivateKey, user: str = "u-1", tenant: str = "signing", regime: str = "gdpr17") -> str:
        return base64.b64encode(key.sign(signed.message(tenant, user, regime, received))).decode()

    forged = [
        by(forger),
        by(platform, user="u-2"),
        by(platform, tenant="acme"),
        by(platform, regime="ccpa"),
        "x",
        "ab" * 64,
    ]
    for signature in forged:
        assert "signature is not genuine" in refusal(**facts, signature=signature)
    assert "not signed" in refusal(**facts, signature="")
    assert "states when it was made" in refusal(**{**facts, "received_at": None}, signature=by(platform))
    assert "not genuine" in refusal(
        **{**facts, "received_at": received - timedelta(days=1)}, signature=by(platform)
    )
    assert "its admin" in refusal(**{**facts, "user": None}, signature=by(platform))
    request = building.filed(**facts, signature=by(platform))
    assert request.deadline < received + timedelta(days=31)
    assert (
        building.filed(**{**facts, "user": "u-3"}, signature=by(contact, user="u-3").strip()).state
        == "received"
    )
    assert "open already" in refusal(**facts, signature=by(platform))


def test_what_is_kept_names_nobody_in_clear(actors: dict[str, Actor]) -> None:
    user, reason = building.a_user(), "she asked by phone, Ann Doe"
    received = timezone.now() - timedelta(days=10)
    request = building.filed(user, actor=actors["engineer"], received_at=received, reason=reason)
    request.refresh_from_db()
    assert (request.state, request.filed_by_id, request.received_at) == (
        "received",
        actors["engineer"].user_id,
        received,
    )
    assert request.subject_pseudonym == pseudonyms.of_user("acme", user)
    assert request.requester_pseudonym == pseudonyms.of_mail(" ADMIN@acme.example ")
    assert cases.read(request) == {
        "user": user,
        "requested_by": building.ADMIN,
        "reason": reason,
        "identifiers": {},
    }
    rows = [*ErasureRequest.objects.all(), *AuditEvent.objects.all(), *Notice.objects.all()]
    written = serializers.serialize("json", rows)
    for secret in (user, building.ADMIN, reason):
        assert secret not in written
    assert sorted(Notice.objects.values_list("kind", flat=True)) == ["reminder_1", "reminder_3", "reminder_7"]
    assert AuditEvent.objects.get(case_id=request.pk).verb == "request.received"


def test_an_exchanged_subject_is_noticed() -> None:
    one, two = building.filed("u-1"), building.filed("u-2")
    with pytest.raises(SealBroken):
        cases.read(
            ErasureRequest(
                pk=one.pk, tenant_id="acme", subject_pseudonym=one.subject_pseudonym, sealed=two.sealed
            )
        )
    content = {**cases.read(one), "user": "u-2"}
    one.sealed = cases.write(one, content)
    with pytest.raises(SealBroken, match="not the one it was filed for"):
        cases.read(one)


def test_pseudonyms_keep_twins_apart() -> None:
    twins = [
        ("1", "u"),
        ("1", None),
        ("17", "u"),
        ("1*", "u"),
        ("1", "u1"),
        ("1", "U"),
        ("1u", ""),
        ("a", "b_c"),
        ("a_b", "c"),
    ]
    assert len({pseudonyms.of_user(*twin) for twin in twins}) == len(twins)
    assert pseudonyms.of_user("1", "") == pseudonyms.of_user("1", None)
    assert (
        len(
            {
                pseudonyms.of("k", "a", "bc"),
                pseudonyms.of("k", "ab", "c"),
                pseudonyms.of("ka", "", "bc"),
                pseudonyms.ledger_hmac("a", "bc"),
            }
        )
        == 4
    )


def test_an_offboarding_first_offers_return() -> None:
    request = building.filed(None, regime="art28")
    assert notices.send_due(timezone.now(), actor=SYSTEM) == 1
    assert mail.outbox[-1].to == [building.ADMIN]
    assert "Art. 28(3)(g)" in mail.outbox[-1].body and request.pk in mail.outbox[-1].subject


def test_ccpa_confirms_receipt() -> None:
    request = building.filed(regime="ccpa", actor=SYSTEM)
    assert (request.deadline - request.received_at).days == 45
    assert request.notices.filter(kind="confirmation", sealed_to__isnull=False).exists()
