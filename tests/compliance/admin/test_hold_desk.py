"""Legal places and releases holds; a hidden one leaves no trace on anybody else's screen."""

from __future__ import annotations

from django.urls import reverse

from compliance.models import AuditEvent, ErasureRequest, LegalHold
from lifecycle.models import Run
from tests.compliance import building
from tests.compliance.admin.test_roles import HOLD, REQUEST, Desk, page, post, said

PLACE = reverse(f"{HOLD}_add")
CASE = {
    "tenant_id": "acme",
    "user": "",
    "category": "",
    "case_reference": "C-77 secret case",
    "type": "litigation",
}


def test_only_legal_places_and_releases(desk: Desk) -> None:
    officer, legal = desk("officer"), desk("legal")
    for name in ("officer", "engineer", "auditor"):
        assert desk(name).post(PLACE, CASE).status_code == 403, name
    assert not LegalHold.objects.exists()
    assert "The hold's last day lies in the past." in said(
        legal.post(PLACE, {**CASE, "until": "2020-01-01"}, follow=True)
    )
    assert not LegalHold.objects.exists()
    legal.post(PLACE, CASE)
    hold = LegalHold.objects.get()
    assert "officer has none of the roles" in post(officer, hold, "release", reason="over")
    hold.refresh_from_db()
    assert hold.state in LegalHold.BLOCKING
    assert hold.release_requested_by is None


def test_a_release_takes_two_people(desk: Desk) -> None:
    request = building.planned("u-1")
    legal, second = desk("legal"), desk("legal2")
    text = said(legal.post(PLACE, {**CASE, "user": "u-1"}, follow=True))
    hold = LegalHold.objects.get()
    request.refresh_from_db()
    assert request.state == "blocked_by_hold"
    assert f"It stops {request.pk}" in text
    assert "Give a reason" in post(legal, hold, "release", reason=" ")
    post(legal, hold, "release", reason="settled")
    assert "a second person must confirm it" in post(legal, hold, "release", reason="settled")
    hold.refresh_from_db()
    assert hold.state == "release_requested"
    post(second, hold, "release", reason="settled")
    hold.refresh_from_db()
    assert hold.state == "released"
    assert {
        hold.release_requested_by and hold.release_requested_by.username,
        hold.released_by and hold.released_by.username,
    } == {"legal", "legal2"}


def test_a_hidden_hold_shows_outside_legal_only_as_retained(desk: Desk) -> None:
    request = building.planned("u-1")
    legal = desk("legal")
    legal.post(PLACE, {**CASE, "type": "criminal"})
    hold = LegalHold.objects.get()
    request.refresh_from_db()
    assert request.state == "blocked_by_hold"
    assert hold.case_reference in said(legal.get(page(hold)))
    run = Run.objects.create(workflow="preservation", subject=hold.pk, tenant_id="acme")
    assert "a legal hold" in said(legal.get(reverse("admin:lifecycle_run_changelist")))
    run_page = reverse("admin:lifecycle_run_change", args=[run.pk])
    assert legal.get(run_page).status_code == 200
    urls = [
        page(request), reverse(f"{REQUEST}_changelist"), reverse(f"{REQUEST}_live", args=[request.pk]),
        reverse("admin:index"), reverse(f"{HOLD}_changelist"), reverse("admin:compliance_auditevent_changelist"),
        reverse("admin:lifecycle_tenant_change", args=["acme"]), reverse("admin:lifecycle_run_changelist"),
    ]  # fmt: skip
    for name in ("officer", "engineer", "auditor"):
        client = desk(name)
        for url in urls:
            text = said(client.get(url)).split('id="changelist-filter"')[0]  # whose choices name every state
            for told in (
                hold.pk,
                run.pk,
                "a legal hold",
                hold.case_reference,
                "blocked by hold",
                "blocked_by_hold",
            ):
                assert told not in text, (name, url, told)
        assert "retained under Art. 17(3)" in said(client.get(page(request)))
        assert client.get(page(hold)).status_code == 404
        assert client.get(run_page).status_code == 404
        assert request.pk not in said(
            client.get(reverse(f"{REQUEST}_changelist"), {"standing": "blocked_by_hold"})
        )


def test_what_hidden_holds_keep_is_counted_for_legal_alone(desk: Desk) -> None:
    whole, one = building.planned(None), building.planned("u-1")
    legal = desk("legal")
    legal.post(PLACE, {**CASE, "user": "u-2", "type": "criminal"})
    legal.post(PLACE, {**CASE, "user": "u-1", "category": "messages", "confidential": "on"})
    assert LegalHold.objects.count() == 2
    assert "2 held users of this tenant" in said(legal.get(page(whole)))
    assert "Held categories, spared: messages" in said(legal.get(page(one)))
    for name in ("officer", "engineer", "auditor"):
        for request in (whole, one):
            text = said(desk(name).get(page(request)))
            assert "retained under Art. 17(3)" in text
            for told in (" held user", "Held categories", "messages", "around the held"):
                assert told not in text, (name, told)


def test_whom_a_hold_is_about_is_told_to_legal_alone_and_audited(desk: Desk) -> None:
    user = building.a_user()
    legal, officer = desk("legal"), desk("officer")
    legal.post(PLACE, {**CASE, "user": user})
    hold = LegalHold.objects.get()
    assert user not in said(legal.get(page(hold)))
    assert user not in post(officer, hold, "custodian")
    assert not AuditEvent.objects.filter(verb="hold.read").exists()
    assert user in post(legal, hold, "custodian")
    assert AuditEvent.objects.filter(verb="hold.read", actor="legal", case_id=hold.pk).count() == 1


def test_filing_by_form_says_why_not(desk: Desk) -> None:
    officer, url = desk("officer"), reverse(f"{REQUEST}_add")
    form = {
        "tenant_id": "acme",
        "user": "u-1",
        "requested_by": "stranger@x.example",
        "regime": "gdpr17",
        "ground": "b",
    }
    assert desk("engineer").post(url, form).status_code == 403
    assert "The requester is no admin of tenant acme" in said(officer.post(url, form))
    assert not ErasureRequest.objects.exists()
