"""Placing, releasing and expiring holds, and who is told what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core import serializers
from django.utils import timezone

from compliance import signals, statements
from compliance.actions import executing, holds
from compliance.actors import SYSTEM, Actor
from compliance.errors import Refused
from compliance.models import AuditEvent, LegalHold
from tests.compliance import building

pytestmark = pytest.mark.usefixtures("acme")


def place(actor: Actor, **facts: Any) -> LegalHold:
    given: dict[str, Any] = {"tenant_id": "acme", "case_reference": "C-1", "type": "litigation", **facts}
    return holds.place(**{"actor": actor, **given})


def test_only_legal_places_and_with_sense(actors: dict[str, Actor]) -> None:
    legal = actors["legal"]
    past = timezone.now() - timedelta(days=1)
    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        ("none of the roles", {"actor": actors["officer"]}),
        ("none of the roles", {"actor": actors["auditor"]}),
        ("named person", {"actor": SYSTEM}),
        ("no tenant", {"tenant_id": "nowhere"}),
        ("Name the case", {"case_reference": " "}),
        ("type of a hold", {"type": "curiosity"}),
        ("in the past", {"until": past}),
    )
    for words, facts in cases:
        with pytest.raises(Refused, match=words):
            place(facts.pop("actor", legal), **facts)
    assert LegalHold.objects.count() == 0


def test_a_hold_names_nobody_in_clear(actors: dict[str, Actor]) -> None:
    user = building.a_user()
    hold = place(actors["legal"], user=user, reason="Ann Doe sues", category="messages")
    assert (hold.state, holds.custodian(hold), holds.reason_of(hold)) == ("preserving", user, "Ann Doe sues")
    assert holds.custodian(place(actors["legal"])) is None
    written = serializers.serialize("json", [*LegalHold.objects.all(), *AuditEvent.objects.all()])
    assert user not in written and "Ann Doe" not in written
    holds.record_preserved(hold, actor=SYSTEM, preserved={"s3": 7}, already_gone=[{"system": "pinecone"}])
    assert (hold.state, hold.preserved, len(hold.already_gone)) == ("active", {"s3": 7}, 1)


def test_release_takes_two_people_of_legal(
    actors: dict[str, Actor], django_capture_on_commit_callbacks: Any
) -> None:
    lifted: list[str] = []

    def hear(hold_id: str, **_: Any) -> None:
        lifted.append(hold_id)

    signals.hold_lifted.connect(hear)
    hold = place(actors["legal"])
    for name in ("officer", "engineer", "auditor"):
        with pytest.raises(Refused, match="none of the roles"):
            holds.release(hold, actor=actors[name], reason="over")
    with pytest.raises(Refused, match="Give a reason"):
        holds.release(hold, actor=actors["legal2"], reason="")
    holds.release(hold, actor=actors["legal2"], reason="settled")
    assert hold.state == "release_requested" in LegalHold.BLOCKING
    with pytest.raises(Refused, match="a second person"):
        holds.release(hold, actor=actors["legal2"], reason="settled")
    hold.refresh_from_db()
    assert hold.state == "release_requested"
    with django_capture_on_commit_callbacks(execute=True):
        holds.release(hold, actor=actors["legal"], reason="settled indeed")
    signals.hold_lifted.disconnect(hear)
    assert (hold.state, lifted) == ("released", [hold.pk])
    with pytest.raises(Refused, match="already"):
        holds.release(hold, actor=actors["legal2"], reason="again")


def test_a_hold_expires_on_its_day_and_no_sooner(actors: dict[str, Actor]) -> None:
    hold = place(actors["legal"], until=timezone.now() + timedelta(milliseconds=1200))
    with pytest.raises(Refused, match="not reached its last day"):
        holds.expire(hold, actor=SYSTEM)
    request = building.planned()
    assert request.state == "blocked_by_hold"
    end = hold.until
    assert end is not None
    while timezone.now() <= end:
        pass
    assert holds.expire(hold, actor=SYSTEM).state == "expired"
    assert executing.resume(request, actor=SYSTEM).state == "awaiting_approval"
    endless = place(actors["legal"])
    with time_machine.travel(timezone.now() + timedelta(days=9000)), pytest.raises(Refused, match="last day"):
        holds.expire(endless, actor=SYSTEM)


def test_hidden_holds_show_to_legal_only(actors: dict[str, Actor]) -> None:
    criminal = place(actors["legal"], user="u-1", type="criminal", case_reference="Secret-9")
    secret = place(actors["legal"], user="u-1", confidential=True, case_reference="Secret-9")
    open_one = place(actors["legal"], user="u-2")
    for viewer in (None, actors["officer"], actors["auditor"], actors["engineer"]):
        for hold in (criminal, secret):
            told = statements.describe_hold(hold, viewer)
            assert told == {"what": "retained under Art. 17(3)", "state": "retained"}
        assert list(statements.visible_holds(viewer)) == [open_one]
        assert open_one.pk in statements.of_holds([open_one, secret], viewer)
    assert statements.visible_holds(actors["legal"]).count() == 3
    assert statements.describe_hold(criminal, actors["legal"])["case"] == "Secret-9"
    audited = AuditEvent.objects.get(case_id=criminal.pk, verb="hold.placed").data
    assert "criminal" not in str(audited) and audited["hidden"] is True
    request = building.planned("u-1")
    assert statements.shown_state(request, actors["officer"]) == "retained under Art. 17(3)"
    assert statements.shown_state(request, actors["legal"]) == "blocked by hold"
    assert criminal.pk not in request.state_reason and secret.pk not in request.state_reason
    assert statements.shown_state(building.planned("u-2"), None) == "blocked by hold"
