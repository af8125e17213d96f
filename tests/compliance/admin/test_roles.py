"""Who may do what in the browser: denials first, the rows read again after each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ, Success

from compliance.actions import mentions
from compliance.actors import SYSTEM, Actor
from compliance.models import AuditEvent, ErasureRequest, LegalHold, RetentionRule
from lifecycle.models import DataMapVersion, Run, Step
from tests.compliance import building
from tests.compliance.admin.conftest import PASSWORD

Desk = Callable[[str], Client]
REQUEST, HOLD = "admin:compliance_erasurerequest", "admin:compliance_legalhold"


def page(row: ErasureRequest | LegalHold) -> str:
    """Its page."""
    return reverse(f"{HOLD if isinstance(row, LegalHold) else REQUEST}_change", args=[row.pk])


def post(client: Client, row: ErasureRequest | LegalHold, verb: str, **data: str) -> str:
    """The text of the page that a posted verb leads to."""
    name = HOLD if isinstance(row, LegalHold) else REQUEST
    return said(client.post(reverse(f"{name}_do", args=[row.pk, verb]), data, follow=True))


def said(response: Any) -> str:
    """Its text, with quotes as people read them."""
    text: str = response.content.decode()
    return text.replace("&#x27;", "'").replace("&quot;", '"')


def test_nobody_and_a_person_of_the_platform_get_the_login_page(desk: Desk, client: Client) -> None:
    request = building.planned()
    assert "/login/" in client.get(page(request))["Location"]
    client.force_login(User.objects.create_user("visitor"))
    assert "/login/" in client.get(page(request))["Location"]
    assert "/login/" in client.post(reverse(f"{REQUEST}_do", args=[request.pk, "approve"]))["Location"]


@pytest.mark.parametrize("name", ["auditor", "engineer", "legal"])
def test_the_wrong_role_cannot_approve(desk: Desk, name: str) -> None:
    request = building.planned()
    text = post(desk(name), request, "approve", digest=request.digest, password=PASSWORD)
    assert f"{name} has none of the roles that may do this" in text
    request.refresh_from_db()
    assert request.state == "awaiting_approval"
    assert not request.decisions.exists()


def test_a_stale_plan_a_wrong_password_and_no_password_approve_nothing(desk: Desk) -> None:
    request = building.planned()
    seen = request.digest
    officer = desk("officer")
    building.plan(request, found={"postgresql": {"found": 99, "kinds": {}}})
    assert "The plan changed since it was shown" in post(
        officer, request, "approve", digest=seen, password=PASSWORD
    )
    request.refresh_from_db()
    assert "The password is wrong" in post(
        officer, request, "approve", digest=request.digest, password="guess"
    )
    assert "The password is wrong" in post(officer, request, "approve", digest=request.digest)
    request.refresh_from_db()
    assert request.state == "awaiting_approval"
    assert not request.decisions.exists()
    assert AuditEvent.objects.filter(verb="password.refused", case_id=request.pk).count() == 2


def test_five_wrong_passwords_end_the_session(desk: Desk) -> None:
    request = building.planned()
    officer = desk("officer")
    for _ in range(5):
        post(officer, request, "approve", digest=request.digest, password="guess")
    assert "/login/" in officer.get(page(request))["Location"]
    request.refresh_from_db()
    assert not request.decisions.exists()


def test_who_filed_a_request_cannot_approve_it(desk: Desk, actors: dict[str, Actor]) -> None:
    request = building.plan(building.filed(actor=actors["officer"]))
    text = post(desk("officer"), request, "approve", digest=request.digest, password=PASSWORD)
    assert "officer filed this request; somebody else must approve it." in text
    request.refresh_from_db()
    assert request.state == "awaiting_approval"


def test_an_officer_approves_and_a_tenant_needs_legal_too(desk: Desk) -> None:
    one, whole = building.planned(), building.planned(user=None)
    officer = desk("officer")
    assert "It starts by itself" in said(officer.get(page(one)))
    post(officer, one, "approve", digest=one.digest, password=PASSWORD)
    post(officer, whole, "approve", digest=whole.digest, password=PASSWORD)
    one.refresh_from_db()
    whole.refresh_from_db()
    assert (one.state, whole.state) == ("scheduled", "awaiting_approval")
    assert "has approved this already" in post(
        officer, whole, "approve", digest=whole.digest, password=PASSWORD
    )
    post(desk("legal"), whole, "approve", digest=whole.digest, password=PASSWORD)
    whole.refresh_from_db()
    assert whole.state == "scheduled"


def test_rejecting_needs_a_reason_and_the_password(desk: Desk) -> None:
    request = building.planned()
    officer = desk("officer")
    assert "Give a reason" in post(officer, request, "reject", reason=" ", password=PASSWORD)
    assert "The password is wrong" in post(officer, request, "reject", reason="not hers", password="guess")
    request.refresh_from_db()
    assert request.state == "awaiting_approval"
    post(officer, request, "reject", reason="not hers", password=PASSWORD)
    request.refresh_from_db()
    assert request.state == "rejected"


def test_an_auditor_reads_every_desk_and_changes_nothing(desk: Desk) -> None:
    request = building.planned()
    auditor = desk("auditor")
    before = AuditEvent.objects.count()
    for model in admin.site._registry:
        if model._meta.app_label in ("compliance", "lifecycle"):
            name = f"{model._meta.app_label}_{model._meta.model_name}"
            assert auditor.get(reverse(f"admin:{name}_changelist")).status_code == 200, name
            assert auditor.get(reverse(f"admin:{name}_add")).status_code == 403, name
    for verb in (
        "approve",
        "reject",
        "extend",
        "cancel",
        "retry",
        "preview",
        "around_hold",
        "delay",
        "read_subject",
        "read_mentions",
    ):
        post(
            auditor,
            request,
            verb,
            digest=request.digest,
            password=PASSWORD,
            reason="because",
            until="2030-01-01",
        )
    request.refresh_from_db()
    assert request.state == "awaiting_approval"
    assert AuditEvent.objects.count() == before


def test_verbs_are_posted_never_got(desk: Desk) -> None:
    request = building.planned()
    assert desk("officer").get(reverse(f"{REQUEST}_do", args=[request.pk, "cancel"])).status_code == 405
    request.refresh_from_db()
    assert request.state == "awaiting_approval"


def test_nobody_is_named_in_clear_until_an_officer_asks(desk: Desk) -> None:
    user = building.a_user()
    request = building.planned(user)
    officer, engineer = desk("officer"), desk("engineer")
    for url in (
        page(request),
        reverse(f"{REQUEST}_changelist"),
        reverse(f"{REQUEST}_live", args=[request.pk]),
    ):
        text = said(officer.get(url))
        assert "awaiting approval" in text
        assert not [word for word in (user, "ann@acme.example", "Ann Doe", building.ADMIN) if word in text]
    assert user not in post(engineer, request, "read_subject")
    assert not AuditEvent.objects.filter(verb="request.read").exists()
    answer = officer.post(reverse(f"{REQUEST}_do", args=[request.pk, "read_subject"]))
    assert all(word in said(answer) for word in (user, "ann@acme.example", building.ADMIN))
    assert "no-store" in answer["Cache-Control"]
    assert AuditEvent.objects.filter(verb="request.read", actor="officer", case_id=request.pk).count() == 1


def test_mentions_are_read_and_decided_by_officers_only(desk: Desk) -> None:
    request = building.planned()
    hit = {
        "system": "s3",
        "environment": "e",
        "kind": "object",
        "key": "k",
        "place": "p",
        "needle": "n",
        "excerpt": "says Ann Doe",
    }
    mentions.open(request, actor=SYSTEM, hits=[hit])
    mention = request.mentions.get()
    engineer, officer = desk("engineer"), desk("officer")
    assert "says Ann Doe" not in post(engineer, request, "read_mentions")
    assert "none of the roles" in post(
        engineer, request, "decide_mentions", **{f"mention_{mention.pk}": "erase"}
    )
    mention.refresh_from_db()
    assert mention.choice == "open"
    assert "says Ann Doe" not in said(officer.get(page(request)))
    assert "says Ann Doe" in post(officer, request, "read_mentions")
    assert AuditEvent.objects.filter(verb="mention.read", actor="officer").count() == 1
    post(officer, request, "decide_mentions", **{f"mention_{mention.pk}": "not_this_person"})
    mention.refresh_from_db()
    assert (mention.choice, mention.decided_by) == ("not_this_person", User.objects.get(username="officer"))


def test_only_engineers_publish_a_data_map_and_only_officers_or_legal_change_retention(desk: Desk) -> None:
    assert desk("officer").get(reverse("admin:lifecycle_datamapversion_add")).status_code == 403
    assert not DataMapVersion.objects.exists()
    rule = {
        "name": "Invoices", "tenant_kind": "", "category": "invoices", "basis": "statute", "ground": "b",
        "citation": "§ 147 AO", "days": "3650", "active": "on",
    }  # fmt: skip
    url = reverse("admin:compliance_retentionrule_add")
    assert desk("engineer").post(url, rule).status_code == 403
    assert "Say for how many days" in said(desk("officer").post(url, {**rule, "days": "0"}))
    assert not RetentionRule.objects.exists()
    desk("officer").post(url, rule)
    assert RetentionRule.objects.get().days == 3650
    assert AuditEvent.objects.filter(verb="retention.added", actor="officer").count() == 1


def test_runs_are_steered_by_engineers_and_not_by_auditors(desk: Desk) -> None:
    run = Run.objects.create(workflow="erasure", subject=building.planned().pk, tenant_id="acme")
    Step.objects.create(run=run, name="freeze", stage=1)
    url = reverse("admin:lifecycle_run_do", args=[run.pk, "pause"])
    assert "auditor has none of the roles" in said(desk("auditor").post(url, follow=True))
    run.refresh_from_db()
    assert (run.state, run.pause_requested) == ("running", False)
    desk("engineer").post(url)
    run.refresh_from_db()
    assert (run.state, run.pause_requested) == ("paused", True)


def test_the_task_queue_shows_no_payloads() -> None:
    assert OrmQ not in admin.site._registry
    assert Success not in admin.site._registry
