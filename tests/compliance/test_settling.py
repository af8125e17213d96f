"""Mentions, recipients and tokens: named people decide, and what they decide is kept without names."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.utils import timezone

from compliance import pseudonyms
from compliance.actions import mentions, recipients, tokens
from compliance.actors import SYSTEM, Actor
from compliance.errors import Refused
from compliance.models import ApiToken, AuditEvent, Mention
from tests.compliance import building

pytestmark = pytest.mark.usefixtures("acme")
HIT = {
    "system": "redis",
    "environment": "acme@us-east-1",
    "kind": "string",
    "key": "note:9",
    "place": "note:9",
    "needle": "name",
    "excerpt": "told Ann Doe",
}


def test_an_officer_decides_each_mention(actors: dict[str, Actor]) -> None:
    request = building.planned()
    assert mentions.open(request, actor=SYSTEM, hits=[HIT, {**HIT, "key": "note:10"}, HIT]) == 2
    assert mentions.open(request, actor=SYSTEM, hits=[HIT]) == 0
    first, second = Mention.objects.all()
    assert "Ann Doe" not in serializers.serialize("json", Mention.objects.all())
    for name in ("engineer", "auditor"):
        with pytest.raises(Refused, match="none of the roles"):
            mentions.read(request, actor=actors[name])
        with pytest.raises(Refused, match="none of the roles"):
            mentions.decide(first, actor=actors[name], choice="erase")
    for choice in ("open", "done", "ignore"):
        with pytest.raises(Refused, match="choices are"):
            mentions.decide(first, actor=actors["officer"], choice=choice)
    assert [each["excerpt"] for each in mentions.read(request, actor=actors["officer"])] == [
        "told Ann Doe"
    ] * 2
    assert AuditEvent.objects.filter(verb="mention.read").count() == 1
    mentions.decide(first, actor=actors["officer"], choice="erase")
    mentions.decide(second, actor=actors["legal"], choice="not_this_person")
    with pytest.raises(Refused, match="nothing to carry out"):
        mentions.done(second, actor=SYSTEM)
    mentions.done(first, actor=SYSTEM)
    assert (first.choice, first.decided_as, first.decided_by_id) == (
        "done",
        "erase",
        actors["officer"].user_id,
    )
    with pytest.raises(Refused, match="carried out already"):
        mentions.decide(first, actor=actors["officer"], choice="redact")
    # Found again after it was erased: it is open again.
    assert mentions.open(request, actor=SYSTEM, hits=[HIT]) == 1
    first.refresh_from_db()
    assert first.choice == "open"


def test_a_recipient_is_settled_with_evidence(actors: dict[str, Actor]) -> None:
    request = building.planned(recipients=[("CRM", "processor")])
    line = request.recipients.get()
    with pytest.raises(Refused, match="none of the roles"):
        recipients.settle(line, actor=actors["engineer"], state="erased", evidence="mail")
    with pytest.raises(Refused, match="settled as one of"):
        recipients.settle(line, actor=actors["officer"], state="pending", evidence="mail")
    for state in ("erased", "attested"):
        with pytest.raises(Refused, match="Give the evidence"):
            recipients.settle(line, actor=actors["officer"], state=state, evidence="")
    recipients.settle(line, actor=actors["officer"], state="attested", evidence="ticket 7: Ann Doe is gone")
    assert (line.state, line.settled_role) == ("attested", "compliance")
    assert line.evidence_hash == sha256(b"ticket 7: Ann Doe is gone").hexdigest()


def test_a_token_is_shown_once_and_ends(actors: dict[str, Actor]) -> None:
    user = User.objects.get(username="engineer")
    facts: dict[str, Any] = {
        "user": user,
        "tenant_id": "acme",
        "name": "intake",
        "requested_by": building.ADMIN,
    }
    for actor in (actors["auditor"], actors["legal"]):
        with pytest.raises(Refused, match="none of the roles"):
            tokens.issue(actor=actor, scopes=["read"], **facts)
    with pytest.raises(Refused, match="Unknown scopes: root"):
        tokens.issue(actor=actors["officer"], scopes=["root"], **facts)
    with pytest.raises(Refused, match="lives 1 to"):
        tokens.issue(actor=actors["officer"], scopes=["read"], days=0, **facts)
    token, clear = tokens.issue(actor=actors["officer"], scopes=["read", "request"], **facts)
    assert token.requester_mail_hmac == pseudonyms.of_mail(building.ADMIN)
    assert clear not in serializers.serialize("json", [*ApiToken.objects.all(), *AuditEvent.objects.all()])
    assert tokens.find(clear) == token and tokens.find(clear + "x") is None and tokens.find("") is None
    with pytest.raises(Refused):
        tokens.revoke(token, actor=actors["auditor"])
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert tokens.find(clear) is None
    User.objects.filter(pk=user.pk).update(is_active=True)
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tokens.find(clear) is None
    ApiToken.objects.update(expires_at=timezone.now() + timedelta(days=1))
    tokens.revoke(token, actor=actors["engineer"])
    assert tokens.find(clear) is None and token.revoked_at is not None
