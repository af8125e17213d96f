"""Mails that the law and the clock ask for: sent through a real server, retried, never in the way of a case."""

from __future__ import annotations

import email
import email.policy
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from compliance.actions import deciding, holds, notices
from compliance.actors import SYSTEM, Actor
from compliance.models import AuditEvent, Notice, RetentionRule
from tests.compliance import building
from tests.compliance.conftest import until

pytestmark = pytest.mark.usefixtures("acme")


def received(folder: Path, known: set[Path], count: int) -> list[EmailMessage]:
    def new() -> list[Path]:
        return sorted(path for path in folder.glob("*.eml") if path not in known)

    until(lambda: len(new()) >= count)
    return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in new()]


def test_reasons_and_remedies_reach_the_requester(
    actors: dict[str, Actor], stack: dict[str, Any], settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    folder = Path(stack["mail"])
    known = set(folder.glob("*.eml"))
    RetentionRule.objects.create(
        name="tax", category="invoices", days=3650, basis="statute", citation="§ 147 AO"
    )
    kept = building.approved(actors, "u-1")
    refused = building.planned("u-2")
    deciding.extend(refused, actor=actors["officer"], reason="Seven systems.")
    deciding.reject(refused, actor=actors["officer"], reason="No user of that name & kind.")
    held = building.planned("u-3")
    holds.place(
        actor=actors["legal"], tenant_id="acme", user="u-3", case_reference="Secret-9", type="criminal"
    )
    assert notices.send_due(timezone.now(), actor=SYSTEM) == 4
    assert notices.send_due(timezone.now(), actor=SYSTEM) == 0
    mails = {str(each["Subject"]): each for each in received(folder, known, 4)}
    assert all(each["To"] == building.ADMIN for each in mails.values())
    bodies = {subject: each.get_content().replace("\r\n", "\n") for subject, each in mails.items()}
    by = {
        request.pk: [body for subject, body in bodies.items() if request.pk in subject]
        for request in (kept, refused, held)
    }
    assert "§ 147 AO" in by[kept.pk][0] and "Art. 17(3)(b): a legal obligation" in by[kept.pk][0]
    assert any("No user of that name & kind." in body for body in by[refused.pk])
    assert any("Seven systems." in body for body in by[refused.pk])
    assert "retained under Art. 17(3)" in by[held.pk][0]
    for body in bodies.values():
        assert "supervisory authority (Art. 77 GDPR)" in body
        assert "Secret-9" not in body and "u-3" not in body
    assert AuditEvent.objects.filter(verb="notice.sent").count() == 4


def test_a_failing_mail_server_stops_nothing(actors: dict[str, Actor], settings: Any) -> None:
    request = building.planned()
    deciding.reject(request, actor=actors["officer"], reason="no")
    settings.EMAIL_BACKEND, settings.EMAIL_PORT = "django.core.mail.backends.smtp.EmailBackend", 1
    now = timezone.now()
    assert notices.send_due(now, actor=SYSTEM) == 0
    notice = Notice.objects.get(kind="rejected")
    assert (notice.sent_at, notice.attempts, notice.detail["last_failure"]) == (
        None,
        1,
        "ConnectionRefusedError",
    )
    assert notice.due_at == now + timedelta(minutes=2)
    assert notices.send_due(now + timedelta(minutes=1), actor=SYSTEM) == 0
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert notices.send_due(now + timedelta(minutes=3), actor=SYSTEM) == 1
    assert mail.outbox[-1].to == [building.ADMIN]


def test_reminders_at_seven_three_and_one_days(actors: dict[str, Actor], settings: Any) -> None:
    request = building.planned()
    done = building.planned("u-2")
    deciding.cancel(done, actor=SYSTEM)
    before = len(mail.outbox)
    for days in (8, 6.9, 2.9, 0.9):
        notices.send_due(request.deadline - timedelta(days=days), actor=SYSTEM)
    reminders = [each for each in mail.outbox[before:] if "left for erasure request" in each.subject]
    assert [each.subject.split()[0] for each in reminders] == ["7", "3", "1"]
    assert all(each.to == [settings.COMPLIANCE_MAIL] and request.pk in each.body for each in reminders)
    assert all(done.pk not in each.body for each in reminders)
    # Filed late: only what is still ahead, and the last one at once.
    late = building.planned("u-3", received_at=timezone.now() - timedelta(days=27.5))
    assert sorted(late.notices.values_list("kind", flat=True)) == ["reminder_1"]
