"""Approval by the right people for the plan as it stands; rejection, extension, cancellation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.utils import timezone

from compliance import cases, signals
from compliance.actions import deciding, executing, holds
from compliance.actors import SYSTEM, Actor, person
from compliance.errors import Refused
from compliance.models import AuditEvent, Decision, ErasureRequest
from tests.compliance import building

pytestmark = pytest.mark.usefixtures("acme")


def refusal(act: Any, request: ErasureRequest, **facts: Any) -> str:
    before = (ErasureRequest.objects.get(pk=request.pk).state, Decision.objects.count())
    with pytest.raises(Refused) as caught:
        act(request, **facts)
    assert (ErasureRequest.objects.get(pk=request.pk).state, Decision.objects.count()) == before
    return str(caught.value)


def test_a_user_needs_one_officer_who_is_nobody_involved(actors: dict[str, Actor]) -> None:
    request = building.plan(building.filed(actor=actors["officer2"]))
    for name in ("legal", "engineer", "auditor"):
        assert "none of the roles" in refusal(
            deciding.approve, request, actor=actors[name], digest=request.digest
        )
    assert "needs a person" in refusal(deciding.approve, request, actor=SYSTEM, digest=request.digest)
    assert "filed this request" in refusal(
        deciding.approve, request, actor=actors["officer2"], digest=request.digest
    )
    for digest in ("", "x" * 64):
        assert "plan changed" in refusal(deciding.approve, request, actor=actors["officer"], digest=digest)
    officer = User.objects.get(username="officer")
    browser = person(officer, via="admin")
    assert "password" in refusal(deciding.approve, request, actor=browser, digest=request.digest)
    User.objects.filter(pk=officer.pk).update(email=building.ADMIN.upper())
    assert "made this request" in refusal(
        deciding.approve, request, actor=actors["officer"], digest=request.digest
    )
    User.objects.filter(pk=officer.pk).update(email="officer@staff.example")
    done = deciding.approve(request, actor=browser, digest=request.digest, password_checked=True)
    assert (done.state, deciding.standing_problems(done)) == ("scheduled", [])
    assert "only one that awaits approval" in refusal(
        deciding.approve, request, actor=actors["officer"], digest=request.digest
    )
    verbs = AuditEvent.objects.filter(case_id=request.pk).order_by("seq").values_list("verb", flat=True)
    assert list(verbs)[-2:] == ["request.approved", "request.scheduled"]


def test_a_tenant_needs_compliance_and_legal(
    actors: dict[str, Actor], django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[str] = []

    def hear(request_id: str, **_: Any) -> None:
        heard.append(request_id)

    signals.request_scheduled.connect(hear)
    both = building.account("both", "compliance officer", "legal")
    request = building.planned(None)
    deciding.approve(request, actor=both, digest=request.digest)
    assert "approved this already" in refusal(deciding.approve, request, actor=both, digest=request.digest)
    assert "What is missing is an approval by legal" in refusal(
        deciding.approve, request, actor=actors["officer"], digest=request.digest
    )
    assert (request.state, heard) == ("awaiting_approval", [])
    with django_capture_on_commit_callbacks(execute=True):
        deciding.approve(request, actor=actors["legal"], digest=request.digest)
    signals.request_scheduled.disconnect(hear)
    assert (request.state, heard) == ("scheduled", [request.pk])
    assert set(Decision.objects.values_list("role", "user__username")) == {
        ("compliance", "both"),
        ("legal", "legal"),
    }


def test_a_changed_plan_voids_approvals(actors: dict[str, Actor]) -> None:
    request = building.planned(None)
    seen = request.digest
    deciding.approve(request, actor=actors["officer"], digest=seen)
    building.plan(request)
    assert (request.digest, deciding.missing_roles(request)) == (seen, [Decision.Role.LEGAL])
    for change in (
        {"datamap_version": 2},
        {"datamap_digest": "d2"},
        {"identifiers": {"mails": ["other@acme.example"]}},
        {"recipients": [("CRM", "processor")]},
    ):
        before = request.digest
        building.plan(request, **change)
        assert request.digest not in (before, seen)
        assert not Decision.objects.filter(voided_at=None).exists()
        assert "plan changed" in refusal(deciding.approve, request, actor=actors["legal"], digest=before)
        deciding.approve(request, actor=actors["officer"], digest=request.digest)
    deciding.approve(request, actor=actors["legal"], digest=request.digest)
    assert request.state == "scheduled"
    # Also after the approval: another plan sends it back.
    building.plan(request, datamap_version=3)
    assert (request.state, len(deciding.standing_problems(request))) == ("awaiting_approval", 2)


def test_a_hold_stops_approval(actors: dict[str, Actor]) -> None:
    request = building.planned("u-1")
    holds.place(actor=actors["legal"], tenant_id="acme", user="u-1", case_reference="C", type="regulatory")
    request.refresh_from_db()
    assert request.state == "blocked_by_hold"
    assert "only one that awaits approval" in refusal(
        deciding.approve, request, actor=actors["officer"], digest=request.digest
    )


def test_rejection_and_cancellation_need_a_reason_and_a_role(actors: dict[str, Actor]) -> None:
    request = building.planned()
    assert "Give a reason" in refusal(deciding.reject, request, actor=actors["officer"], reason=" ")
    for name in ("engineer", "auditor"):
        assert "none of the roles" in refusal(deciding.reject, request, actor=actors[name], reason="no")
        assert "none of the roles" in refusal(deciding.cancel, request, actor=actors[name])
    deciding.reject(request, actor=actors["legal"], reason="Ann Doe is no user of ours.")
    assert request.state == "rejected" and request.watch_until is not None
    assert cases.read_reason(Decision.objects.get(kind="reject")) == "Ann Doe is no user of ours."
    assert "can't become" in refusal(deciding.reject, request, actor=actors["legal"], reason="again")
    assert request.notices.filter(kind="rejected", sealed_to__isnull=False).exists()
    own = building.filed("u-2", actor=actors["engineer"])
    assert deciding.cancel(own, actor=actors["engineer"], reason="a mistake").state == "cancelled"
    assert deciding.cancel(building.filed("u-3"), actor=SYSTEM).state == "cancelled"
    assert "Ann Doe" not in str(list(AuditEvent.objects.values_list("data", flat=True)))


def test_the_clock_is_extended_once_and_in_time(actors: dict[str, Actor]) -> None:
    received = timezone.now() - timedelta(days=25)
    request = building.planned(received_at=received)
    assert "Give a reason" in refusal(deciding.extend, request, actor=actors["officer"], reason="")
    assert "none of the roles" in refusal(
        deciding.extend, request, actor=actors["engineer"], reason="many systems"
    )
    with time_machine.travel(request.deadline + timedelta(hours=1)):
        assert "first period is over" in refusal(
            deciding.extend, request, actor=actors["officer"], reason="many systems"
        )
    first = request.deadline
    deciding.extend(request, actor=actors["officer"], reason="many systems")
    assert timedelta(days=58) < request.deadline - first < timedelta(days=62)
    assert "one extension" in refusal(deciding.extend, request, actor=actors["officer"], reason="more")
    assert request.notices.get(kind="extended").due_at <= timezone.now()
    assert request.notices.get(kind="reminder_7").due_at == request.deadline - timedelta(days=7)
    late = building.planned("u-2", received_at=timezone.now() - timedelta(days=40))
    assert "first period is over" in refusal(deciding.extend, late, actor=actors["officer"], reason="late")


def test_legal_chooses_to_erase_around_a_held_user(actors: dict[str, Actor]) -> None:
    request = building.approved(actors, None)
    held = holds.place(
        actor=actors["legal"], tenant_id="acme", user="u-1", case_reference="C", type="criminal"
    )
    request.refresh_from_db()
    assert (request.state, request.resume_state) == ("blocked_by_hold", "scheduled")
    assert held.pk not in request.state_reason and "retained under Art. 17(3)" in request.state_reason
    assert "none of the roles" in refusal(
        deciding.choose_around_hold, request, actor=actors["officer"], reason="go on"
    )
    before = request.digest
    deciding.choose_around_hold(request, actor=actors["legal"], reason="only Ann is concerned")
    assert (request.state, request.around_hold) == ("awaiting_approval", True)
    assert request.digest != before and len(deciding.missing_roles(request)) == 2
    for name in ("officer", "legal"):
        deciding.approve(request, actor=actors[name], digest=request.digest)
    assert request.state == "scheduled"
    holds.place(actor=actors["legal"], tenant_id="acme", user="u-2", case_reference="C", type="criminal")
    request.refresh_from_db()
    assert request.state == "blocked_by_hold"
    holds.place(actor=actors["legal"], tenant_id="acme", case_reference="C", type="regulatory")
    assert "no way around" in refusal(
        deciding.choose_around_hold, request, actor=actors["legal"], reason="go on"
    )
    one = building.filed("u-7")
    assert "Only a whole tenant" in refusal(
        deciding.choose_around_hold, one, actor=actors["legal"], reason="x"
    )


def test_a_contract_delays_only_by_legals_decision(actors: dict[str, Actor]) -> None:
    request = building.planned()
    until = timezone.now() + timedelta(days=20)
    assert "none of the roles" in refusal(
        deciding.delay, request, actor=actors["officer"], until=until, reason="contract"
    )
    assert "in the past" in refusal(
        deciding.delay, request, actor=actors["legal"], until=timezone.now(), reason="contract"
    )
    deciding.delay(request, actor=actors["legal"], until=until, reason="contract")
    deciding.approve(request, actor=actors["officer"], digest=request.digest)
    with pytest.raises(Refused, match="A contract delays"):
        executing.move(request, "executing", actor=SYSTEM)
    with time_machine.travel(until + timedelta(seconds=1)):
        assert executing.move(request, "executing", actor=SYSTEM).state == "executing"
    assert request.notices.filter(kind="delayed").exists()
