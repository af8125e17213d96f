"""The requester gets one mail with all seven files and the salt; the escrowed salt opens only to two people."""

from __future__ import annotations

import email
import email.policy
import json
import socket
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from compliance.actions import certifying
from compliance.actors import SYSTEM, Actor
from compliance.certificate import bundle
from compliance.errors import Refused
from compliance.models import AuditEvent, Certificate, SaltEscrow
from tests.compliance import building
from tests.compliance.certificate.test_issuing import SALT, certifying_request, issue
from tests.compliance.conftest import until


@pytest.fixture
def certificate(db: None) -> Certificate:
    """A certificate that is stored and not mailed."""
    building.tenant()
    return issue(certifying_request(building.people()))


@pytest.fixture
def people(db: None) -> dict[str, Actor]:
    return building.people()


@pytest.fixture
def real_mail(settings: Settings, stack: dict[str, Any]) -> Path:
    """Mail goes to the stack's own server."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = stack["smtp"]["host"], int(stack["smtp"]["port"])
    return Path(stack["mail"])


def mails(folder: Path, certificate: Certificate) -> list[EmailMessage]:
    read = (
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for path in folder.glob("*.eml")
    )
    return [mail for mail in read if certificate.pk in str(mail["Message-ID"])]


def test_one_mail_with_all_files_and_the_salt(certificate: Certificate, real_mail: Path) -> None:
    assert certifying.deliver(certificate, actor=SYSTEM)
    assert certifying.deliver(certificate, actor=SYSTEM)
    until(lambda: mails(real_mail, certificate))
    (mail,) = mails(real_mail, certificate)
    assert mail["To"] == building.ADMIN
    attached = {part.get_filename(): part.get_payload(decode=True) for part in mail.iter_attachments()}
    assert attached == bundle.files(certificate)
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert SALT.hex() in text
    made = json.loads(bytes(certificate.document))
    assert made["request"]["subject_commitment"] == certifying.commitment(SALT, "acme", "u-1")
    assert SALT.hex() not in bytes(certificate.document).decode()
    events = AuditEvent.objects.filter(case_id=certificate.request_id, verb="certificate.delivered")
    assert events.count() == 1
    assert building.ADMIN not in json.dumps(list(events.values("data", "actor")))


def test_a_failing_mail_server_fails_nothing_and_is_tried_again(
    certificate: Certificate, real_mail: Path, settings: Settings, stack: dict[str, Any]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings.EMAIL_PORT = closed.getsockname()[1]
        assert not certifying.deliver(certificate, actor=SYSTEM)
    certificate.refresh_from_db()
    assert certificate.delivered_at is None
    settings.EMAIL_PORT = int(stack["smtp"]["port"])
    assert certifying.deliver_due(actor=SYSTEM) >= 1
    until(lambda: mails(real_mail, certificate))
    certificate.refresh_from_db()
    assert certificate.delivered_at is not None


def test_a_certificate_that_is_not_stored_is_not_mailed(certificate: Certificate) -> None:
    certificate.stored_at = None
    with pytest.raises(Refused, match="not in the locked bucket"):
        certifying.deliver(certificate, actor=SYSTEM)


def test_the_salt_opens_only_to_two_people(certificate: Certificate, people: dict[str, Actor]) -> None:
    escrow = SaltEscrow.objects.get(certificate=certificate)
    for name in ("engineer", "auditor"):
        with pytest.raises(Refused, match="none of the roles"):
            certifying.ask_salt(certificate, actor=people[name])
    with pytest.raises(Refused, match="Ask first"):
        certifying.open_salt(escrow, actor=people["legal"])
    certifying.ask_salt(certificate, actor=people["officer"])
    with pytest.raises(Refused, match="yourself"):
        certifying.open_salt(escrow, actor=people["officer"])
    with pytest.raises(Refused, match="none of the roles"):
        certifying.open_salt(escrow, actor=people["auditor"])
    assert certifying.open_salt(escrow, actor=people["legal"]) == SALT.hex()
    with pytest.raises(Refused, match="Ask first"):
        certifying.open_salt(escrow, actor=people["legal2"])
    escrow.refresh_from_db()
    assert (escrow.asked_by_id, escrow.opened_by_id) == (people["officer"].user_id, people["legal"].user_id)
    assert bytes(escrow.sealed).find(SALT) == -1
    verbs = (
        AuditEvent.objects.filter(verb__startswith="certificate.salt")
        .order_by("seq")
        .values_list("verb", flat=True)
    )
    assert list(verbs) == ["certificate.salt_asked", "certificate.salt_opened"]
