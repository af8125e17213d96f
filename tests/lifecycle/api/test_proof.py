"""Holds, certificates, audit, runs: what each role may, and that rows say the same."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from django.conf import settings

from compliance.actions import certifying
from compliance.actors import SYSTEM, Actor
from compliance.certificate import verification
from compliance.models import Certificate, LegalHold
from lifecycle.models import Run, Step
from tests.compliance import building
from tests.compliance.certificate import samples
from tests.lifecycle.api.calling import answer, caller, reasons

CASE = {"case": "C-77", "type": "litigation"}


def test_only_legal_places_and_two_of_legal_release() -> None:
    request = building.planned("u-1")
    for name in ("officer", "engineer"):
        assert "none of the roles" in reasons(caller(name).post("holds/", **CASE))
    legal, second = caller("legal"), caller("legal2")
    assert "in the past" in reasons(legal.post("holds/", **CASE, until="2020-01-01"))
    assert "not one of the known values" in reasons(legal.post("holds/", case="C", type="C-77 odd"), 400)
    assert "until: " in reasons(legal.post("holds/", **CASE, until="2027-02-31"), 400)
    assert not LegalHold.objects.exists()
    made = answer(legal.post("holds/", **CASE, user="u-1", until="2999-12-31"), 201)
    hold = LegalHold.objects.get(pk=made["id"])
    assert f"{hold.until}" == "2999-12-31 23:59:59+00:00"
    request.refresh_from_db()
    assert request.state == "blocked_by_hold"
    release = f"holds/{hold.pk}/release/"
    assert "none of the roles" in reasons(caller("officer").post(release, reason="over"))
    assert answer(legal.post(release, reason="settled"))["state"] == "release_requested"
    assert "a second person must confirm it" in reasons(legal.post(release, reason="settled"))
    hold.refresh_from_db()
    assert hold.state == "release_requested"
    assert answer(second.post(release, reason="settled"))["state"] == "released"
    assert [each["state"] for each in answer(second.get("holds/"))] == ["released"]


def test_a_hidden_hold_is_not_there_for_others() -> None:
    made = answer(caller("legal").post("holds/", case="Secret 7", type="criminal"), 201)
    run = Run.objects.create(workflow="preservation", subject=made["id"], tenant_id="acme")
    for name in ("officer", "engineer"):
        who = caller(name)
        # The same answer as for a hold that does not exist.
        said = [reasons(who.post(f"holds/{pk}/release/", reason="x"), 404) for pk in (made["id"], "lh-none")]
        assert said[0] == said[1]
        assert answer(who.get("holds/")) == []
        assert answer(who.get("runs/")) == []
        assert reasons(who.get(f"runs/{run.pk}/"), 404)
        assert reasons(who.post(f"runs/{run.pk}/cancel/"), 404)
    for name in ("officer", "auditor"):
        assert made["id"] not in caller(name).get("audit/").content.decode()
    legal = caller("legal")
    assert [each["id"] for each in answer(legal.get("holds/"))] == [made["id"]]
    assert [each["id"] for each in answer(legal.get("runs/"))] == [run.pk]
    assert made["id"] in {each["case"] for each in answer(legal.get("audit/"))}


def test_the_audit_is_read_and_verified_by_those_who_may() -> None:
    request = building.filed()
    auditor = caller("auditor")
    for place in ("audit/", "audit/verify/"):
        assert "for auditors" in reasons(caller("engineer").get(place), 403)
    assert ("request.received", request.pk) in {
        (each["verb"], each["case"]) for each in answer(auditor.get("audit/"))
    }
    assert answer(auditor.get("audit/verify/")) == {"whole": True, "problems": []}


def test_runs_are_steered_by_those_who_may(actors: dict[str, Actor]) -> None:
    request = building.approved(actors)
    run = Run.objects.create(workflow="erasure", subject=request.pk, tenant_id="acme")
    Step.objects.create(run=run, name="discover", stage=1)
    engineer, nobody = caller("engineer"), caller("auditor")
    assert "lacks the scope" in reasons(nobody.post(f"runs/{run.pk}/pause/"), 403)
    assert "No step of the run has failed" in reasons(engineer.post(f"runs/{run.pk}/retry/"))
    assert "No step of s3 has failed" in reasons(engineer.post(f"runs/{run.pk}/retry/", lane="s3"))
    assert answer(engineer.post(f"runs/{run.pk}/pause/"))["state"] == "paused"
    run.refresh_from_db()
    assert (run.state, run.pause_requested) == ("paused", True)
    shown = answer(nobody.get(f"runs/{run.pk}/"))
    assert [each["name"] for each in shown["steps"]] == ["discover"]
    assert answer(engineer.post(f"runs/{run.pk}/resume/"))["state"] == "running"
    assert "nothing of this id" in reasons(engineer.get("runs/run-none/"), 404)


@pytest.fixture
def certificate(actors: dict[str, Actor]) -> Certificate:
    """One that was issued."""
    request = building.moved(actors, "executing", "verifying", "certifying", user=building.a_user())
    evidence = samples.user()
    evidence["request"] |= {
        "id": request.pk,
        "subject_commitment": certifying.commitment(b"s" * 32, "acme", "u-1"),
    }
    return certifying.issue(request, actor=SYSTEM, evidence=evidence, salt=b"s" * 32)


def test_a_certificates_files_are_had_and_verified(certificate: Certificate, tmp_path: Path) -> None:
    building.tenant("other")
    stranger, auditor = caller("officer", tenant_id="other"), caller("auditor")
    for place in ("", "verify/"):
        assert reasons(stranger.get(f"certificates/{certificate.pk}/{place}"), 404)
    assert [each["id"] for each in answer(auditor.get("certificates/"))] == [certificate.pk]
    assert answer(auditor.get(f"certificates/{certificate.pk}/verify/")) == {"genuine": True, "findings": []}
    for name, text in answer(auditor.get(f"certificates/{certificate.pk}/"))["files"].items():
        (tmp_path / name).write_bytes(base64.b64decode(text))
    assert len(list(tmp_path.iterdir())) == 7
    assert verification.verify([tmp_path], trusted=[settings.SIGNING_FINGERPRINT]) == []
    pdf = tmp_path / f"{certificate.pk}.pdf"
    pdf.write_bytes(pdf.read_bytes() + b" ")
    assert verification.verify([tmp_path], trusted=[settings.SIGNING_FINGERPRINT]) != []
