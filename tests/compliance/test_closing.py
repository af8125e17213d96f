"""From executing to the end: states, reopening, and what is left when the case closes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import serializers
from django.utils import timezone

from compliance import cases
from compliance.actions import deciding, executing, holds, mentions, notices
from compliance.actors import SYSTEM, Actor
from compliance.errors import Refused
from compliance.keystore import KeyDestroyed, local_recovery_key
from compliance.keystore import default as keystore
from compliance.models import AuditEvent, Decision, ErasureRequest, LegalHold, Mention, Notice
from tests.compliance import building

pytestmark = pytest.mark.usefixtures("acme")
DONE = ("executing", "verifying", "certifying")


def test_no_way_round_the_table(actors: dict[str, Actor]) -> None:
    request = building.planned()
    for state in ("scheduled", "executing", "completed", "reopened", "nonsense"):
        with pytest.raises(Refused):
            executing.move(request, state, actor=SYSTEM)
    deciding.approve(request, actor=actors["officer"], digest=request.digest)
    executing.move(request, "executing", actor=SYSTEM)
    executing.move(request, "failed", actor=SYSTEM, reason="Redis did not answer.")
    assert request.state_reason == "Redis did not answer."
    for state in ("executing", "verifying", "executing", "verifying", "certifying", "partially_completed"):
        executing.move(request, state, actor=SYSTEM)
    assert (
        request.completed_at
        and request.watch_until
        and request.watch_until > timezone.now() + timedelta(days=80)
    )
    assert executing.reopen(request, actor=SYSTEM, reason="A part came due.").state == "reopened"
    assert executing.move(request, "executing", actor=SYSTEM).state == "executing"


def test_a_case_closes_after_its_watch_and_leaves_no_name(actors: dict[str, Actor]) -> None:
    user = building.a_user()
    hold = holds.place(
        actor=actors["legal"],
        tenant_id="acme",
        user=user,
        case_reference="C",
        type="litigation",
        reason="Ann sues",
    )
    for name in ("legal", "legal2"):
        holds.release(hold, actor=actors[name], reason="Ann settled")
    request = building.planned(user)
    deciding.extend(request, actor=actors["officer"], reason="Ann has much")
    deciding.approve(request, actor=actors["officer"], digest=request.digest)
    hit = {
        "system": "postgresql",
        "environment": "acme@us-east-1",
        "kind": "messages",
        "key": "9",
        "place": "messages.body",
        "needle": "name",
        "excerpt": "Ann Doe",
    }
    mentions.open(request, actor=SYSTEM, hits=[hit])
    for state in (*DONE, "completed"):
        executing.move(request, state, actor=SYSTEM)
    for words, watch in (
        ("watch has not ended", timedelta(days=1)),
        ("have not been sent", -timedelta(seconds=1)),
    ):
        ErasureRequest.objects.filter(pk=request.pk).update(watch_until=timezone.now() + watch)
        request.refresh_from_db()
        with pytest.raises(Refused, match=words):
            executing.close(request, actor=SYSTEM)
    assert executing.closable(timezone.now()) == [request]
    assert notices.send_due(timezone.now(), actor=SYSTEM) == 1
    executing.close(request, actor=SYSTEM)

    assert request.closed_at is not None and request.sealed is None
    with pytest.raises(KeyDestroyed):
        cases.read(request)
    for name in (f"case/{request.pk}", f"hold/{hold.pk}"):
        assert keystore().destroyed_at(name) is not None
        with pytest.raises(Exception, match="No wrapping"):
            keystore().recover(name, local_recovery_key(keystore().folder))
    assert not Decision.objects.exclude(sealed_reason=None).exists()
    assert not Notice.objects.exclude(sealed_to=None).exists()
    assert not Mention.objects.exclude(sealed=None).exists()
    assert LegalHold.objects.get().sealed is None
    tables = (ErasureRequest, Decision, Notice, Mention, AuditEvent, LegalHold)
    written = serializers.serialize("json", [row for table in tables for row in table.objects.all()])
    for secret in (user, "Ann", building.ADMIN):
        assert secret not in written
    for act in (executing.close, executing.resume):
        with pytest.raises(Refused):
            act(request, actor=SYSTEM)
    with pytest.raises(Refused, match="closed"):
        executing.reopen(request, actor=SYSTEM, reason="It came back.")


def test_an_ended_request_closes_once_its_mail_is_out(actors: dict[str, Actor]) -> None:
    request = building.planned()
    deciding.reject(request, actor=actors["officer"], reason="no")
    ErasureRequest.objects.filter(pk=request.pk).update(watch_until=timezone.now())
    request.refresh_from_db()
    with pytest.raises(Refused, match="1 mails"):
        executing.close(request, actor=SYSTEM)
    notices.send_due(timezone.now(), actor=SYSTEM)
    assert executing.close(request, actor=SYSTEM).closed_at is not None
    held = building.planned("u-3")
    deciding.cancel(held, actor=SYSTEM)
    notices.send_due(timezone.now(), actor=SYSTEM)
    ErasureRequest.objects.filter(pk=held.pk).update(watch_until=timezone.now())
    held.refresh_from_db()
    holds.place(
        actor=actors["legal"],
        tenant_id="acme",
        user="u-3",
        category="logs",
        case_reference="C",
        type="criminal",
    )
    with pytest.raises(Refused, match="manifest is evidence"):
        executing.close(held, actor=SYSTEM)
    assert cases.read(held)["user"] == "u-3"
    running = building.planned("u-2")
    with pytest.raises(Refused, match="only an ended one"):
        executing.close(running, actor=SYSTEM)
