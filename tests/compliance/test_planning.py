"""From what was found to a plan: drift, nobody, holds, retention, growth."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from compliance import cases, deadlines, statements
from compliance.actions import executing, holds, planning
from compliance.actors import SYSTEM, Actor
from compliance.errors import Refused
from compliance.judgement import judge
from compliance.models import ErasureRequest, RetentionRule
from tests.compliance import building

pytestmark = pytest.mark.usefixtures("acme")
CATEGORIES = ("content", "invoices", "usage")


def rule(name: str, category: str, days: int, **facts: Any) -> RetentionRule:
    given = {"basis": "statute", "ground": "b", "citation": f"§ {name}", **facts}
    return RetentionRule.objects.create(name=name, category=category, days=days, **given)


def hold(
    actors: dict[str, Actor], user: str | None = None, category: str = "", type: str = "litigation"
) -> str:
    return holds.place(
        actor=actors["legal"], tenant_id="acme", user=user, category=category, case_reference="C", type=type
    ).pk


def test_drift_is_named_and_nobody_is_nobody() -> None:
    request = building.filed()
    with pytest.raises(Refused, match="us-east-1/s3: the prefix uploads/"):
        building.plan(request, drift=["us-east-1/s3: the prefix uploads/ is not classified."])
    request.refresh_from_db()
    assert request.state == "received" and "uploads/" in request.state_reason
    with pytest.raises(Refused, match="nobody of that name"):
        building.plan(request, found={"postgresql": {"found": 0}, "s3": {"found": 0}})
    # Any system makes a subject exist, without a row of users.
    assert (
        building.plan(request, found={"postgresql": {"found": 0}, "redis": {"found": 1}}).state
        == "awaiting_approval"
    )


def test_the_plan_is_kept_without_names() -> None:
    request = building.planned(recipients=[("CRM", "processor")])
    assert cases.read(request)["identifiers"] == {"mails": ["ann@acme.example"], "names": ["Ann Doe"]}
    assert request.plan["systems"] == ["postgresql", "s3"]
    assert "Ann" not in str(request.plan) and "ann@" not in str(request.plan)
    assert request.preview["s3"]["found"] == 3
    assert [each.name for each in request.recipients.all()] == ["CRM"]
    building.plan(request, recipients=[("CRM", "processor"), ("Helpdesk", "processor")])
    assert request.recipients.count() == 2


def test_statutes_keep_categories_of_a_kind_of_tenant() -> None:
    bank = building.tenant("bank", kind="bank")
    rule("tax", "invoices", 3650)
    rule("short", "invoices", 30)
    rule("banking", "messages", 100, tenant_kind="bank")
    rule("old", "usage", 5, active=False)
    rule("contract", "*", 90, basis="contract")
    now = timezone.now()
    kept = judge(("acme", "u-1"), categories=CATEGORIES, at=now)
    assert set(kept.retained) == {"invoices"}
    assert (kept.retained["invoices"].rule, kept.retained["invoices"].days) == ("tax", 3650)
    assert kept.retained["invoices"].since == now - timedelta(days=3650)
    assert not kept.all_retained and kept.delayed_until is None
    assert set(judge((bank.pk, None), categories=(), at=now).retained) == {"invoices", "messages"}
    offboarding = building.filed(None, regime="art28")
    assert judge(
        offboarding, categories=CATEGORIES, at=now
    ).delayed_until == offboarding.received_at + timedelta(days=90)
    rule("everything", "*", 4000)
    everything = judge(("acme", None), categories=CATEGORIES, at=now)
    assert set(everything.retained) == set(CATEGORIES) and everything.all_retained
    request = building.filed("u-9", received_at=now - timedelta(days=5000))
    assert judge(request, categories=CATEGORIES, at=now).retained == {}


def test_holds_cover_what_they_say(actors: dict[str, Actor]) -> None:
    def judged(user: str | None, categories: Any = CATEGORIES) -> Any:
        return judge(("acme", user), categories=categories, at=timezone.now())

    ann = hold(actors, "u-ann")
    assert [each.pk for each in judged("u-ann").holds] == [ann]
    assert judged("u-bob").holds == () and judged("u-an").holds == ()
    whole = judged(None)
    assert [each.pk for each in whole.holds] == [each.pk for each in whole.held_user_holds] == [ann]
    assert holds.custodian(whole.held_user_holds[0]) == "u-ann"
    hold(actors, None, "invoices")
    assert (judged("u-bob").holds, judged("u-bob").held_categories) == ((), {"invoices"})
    assert len(judged("u-bob", ["invoices"]).holds) == 1
    everyone = hold(actors)
    assert everyone in {each.pk for each in judged("u-bob").holds}
    building.tenant("other")
    assert judge(("other", None), categories=CATEGORIES, at=timezone.now()).holds == ()


def test_a_held_request_waits_and_is_planned_again(actors: dict[str, Actor]) -> None:
    placed = hold(actors, "u-1")
    request = building.planned()
    assert (request.state, request.resume_state) == ("blocked_by_hold", "awaiting_approval")
    assert placed in request.state_reason
    assert request.notices.filter(kind="held").exists()
    with pytest.raises(Refused, match="legal hold"):
        executing.resume(request, actor=SYSTEM)
    row = request.tenant.holds.get()
    holds.release(row, actor=actors["legal"], reason="over")
    holds.release(row, actor=actors["legal2"], reason="over")
    later = timezone.now() + timedelta(days=2)
    assert statements.held_time(request, later) >= timedelta(days=2)
    assert executing.resume(request, actor=SYSTEM).state == "awaiting_approval"
    assert timedelta(0) < statements.held_time(request, later) < timedelta(hours=1)
    assert request.deadline == deadlines.deadline("gdpr17", request.received_at)


def test_all_of_it_kept_is_retained_until_a_date() -> None:
    rule("tax", "*", 3650)
    found = {"postgresql": {"found": 4, "actions": {"retain": 4}}}
    request = building.planned(found=found)
    assert request.state == "retained"
    assert request.state_reason.endswith(f"{request.plan['retained_until'][:10]}.")
    assert request.notices.filter(kind="retained").exists()
    until = datetime.fromisoformat(request.plan["retained_until"])
    assert planning.came_due(request, until - timedelta(seconds=1)) == []
    assert planning.came_due(request, until) == ["*"]
    # Never approved: what comes due is previewed and approved first.
    assert executing.reopen(request, actor=SYSTEM, reason="The retention ended.").state == "awaiting_approval"
    part = building.planned("u-2", found={"postgresql": {"found": 5, "actions": {"retain": 4, "erase": 1}}})
    assert part.state == "awaiting_approval"


def test_growth_sends_back(actors: dict[str, Actor]) -> None:
    request = building.moved(actors, "executing")
    seen = request.digest
    assert planning.grown(request, {"postgresql": 14, "s3": 3}) == []
    assert planning.grown(request, {"postgresql": 15, "redis": 1}) == ["postgresql", "redis"]
    executing.send_back(request, {"postgresql": 15}, actor=SYSTEM)
    assert (request.state, request.preview["postgresql"]["found"]) == ("awaiting_approval", 15)
    assert request.digest != seen
    assert not request.decisions.filter(voided_at=None).exists()
    assert ErasureRequest.objects.get(pk=request.pk).plan["revision"] == 2
