"""The verbs on requests: what they refuse, then what they do. Rows are read again after each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.utils import timezone

from compliance.actions import holds
from compliance.actors import SYSTEM, Actor
from compliance.models import AuditEvent, Decision, ErasureRequest
from demo.platform import own_rows
from lifecycle import tenants
from lifecycle.erasure import fencing, gates
from lifecycle.models import Run
from tests.compliance import building
from tests.lifecycle.api.calling import answer, caller, reasons

REGION = "us-east-1"


@pytest.fixture
def ann(stack: dict[str, Any], acme: Any) -> Iterator[str]:
    """A user of a tenant whose one system is Redis, with one key."""
    tenants.publish_map(own_rows.DATAMAP.read_text(), actor=SYSTEM)
    tenants.add_environment(
        acme, actor=SYSTEM, region=REGION, places={"redis": own_rows.places(REGION)["redis"]}
    )
    user = building.a_user()
    server = redis.Redis.from_url(stack["regions"][REGION]["redis"])
    names = [f"session:acme:{user}", f"ratelimit:acme:{user}"]
    server.set(names[0], "x")
    yield user
    server.delete(*names)
    server.close()


def test_another_requester_is_refused() -> None:
    stranger = "stranger@x.example"
    said = reasons(caller("engineer").post("requests/", user="u-1", requested_by=stranger), 403)
    assert "in the name of this requester" in said and stranger not in said
    # A token may be bound to somebody without authority: that opens nothing either.
    bound = caller("engineer", requested_by=stranger)
    assert "no admin of tenant acme" in reasons(bound.post("requests/", user="u-1", requested_by=stranger))
    # Without the slash at its end a path means the same: a redirect would make a GET of it.
    assert "no admin" in reasons(bound.post("requests", user="u-1", requested_by=stranger))
    unbound = caller("engineer", "read", "decide", requested_by="")
    assert unbound.post("requests/", requested_by=building.ADMIN).status_code == 403
    assert not ErasureRequest.objects.exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "requested_by: This field is required."),
        ({"requested_by": "ann-no-mail"}, "requested_by: Enter a valid email address."),
        (
            {"requested_by": building.ADMIN, "regime": "Ann Doe"},
            "regime: This is not one of the known values.",
        ),
        (
            {"requested_by": building.ADMIN, "ground": "Ann Doe"},
            "ground: This is not one of the known values.",
        ),
        (
            {"requested_by": building.ADMIN, "received_at": "Ann Doe"},
            "received_at: Datetime has wrong format",
        ),
        ({"requested_by": building.ADMIN, "user": ["Ann Doe"]}, "user: Not a valid string."),
        ({"requested_by": building.ADMIN, "user": "Ann Doe\0"}, "user: Null characters are not allowed."),
    ],
)
def test_what_is_not_valid_is_said_without_quoting_it(body: dict[str, Any], said: str) -> None:
    text = reasons(caller("engineer").post("requests/", **body), 400)
    assert said in text
    assert "Ann Doe" not in text and "ann-no-mail" not in text
    assert not ErasureRequest.objects.exists()


def test_no_json_is_400() -> None:
    who = caller("engineer")
    response = who.client.post(
        "/api/v1/requests/", "{Ann Doe", content_type="application/json", headers=who._headers()
    )
    assert "Ann Doe" not in reasons(response, 400)


def test_from_the_request_to_the_approval(ann: str, stack: dict[str, Any]) -> None:
    engineer, officer = caller("engineer"), caller("officer")
    received = timezone.now() - timedelta(days=2)
    body = {"user": ann, "requested_by": building.ADMIN, "received_at": f"{received:%Y-%m-%dT%H:%M:%SZ}"}
    response = engineer.post("requests/", **body)
    made = answer(response, 201)
    row = ErasureRequest.objects.get(pk=made["id"])
    assert (made["state"], row.filed_by and row.filed_by.username) == ("awaiting_approval", "engineer")
    assert made["deadline"] == f"{row.deadline:%Y-%m-%dT%H:%M:%SZ}"
    assert timedelta(days=27) < row.deadline - timezone.now() < timedelta(days=30)
    assert ann not in response.content.decode()
    assert "open already" in reasons(engineer.post("requests/", **body))
    seen = answer(officer.get(f"requests/{row.pk}/preview/"))
    assert (seen["digest"], seen["systems"]["redis"]["found"]) == (row.digest, 1)
    # Counted anew the plan is another, and what was seen can't be approved any more.
    server = redis.Redis.from_url(stack["regions"][REGION]["redis"])
    server.set(f"ratelimit:acme:{ann}", "1")
    server.close()
    again = answer(officer.post(f"requests/{row.pk}/preview/"))
    assert again["systems"]["redis"]["found"] == 2
    assert again["digest"] != seen["digest"]
    stale = officer.post(f"requests/{row.pk}/approve/", digest=seen["digest"])
    assert "The plan changed since it was shown" in reasons(stale)
    approved = answer(officer.post(f"requests/{row.pk}/approve/", digest=again["digest"]))
    assert approved["state"] == "scheduled"
    assert Decision.objects.get(request=row).user.username == "officer"
    assert AuditEvent.objects.get(verb="request.approved", case_id=row.pk).actor == "officer"
    assert "is decided" in reasons(officer.post(f"requests/{row.pk}/preview/"))
    status = answer(officer.get(f"requests/{row.pk}/"))
    assert (status["state"], status["systems"]["redis"]["found"]) == ("scheduled", 2)
    assert [each["id"] for each in answer(officer.get("requests/"))] == [row.pk]


def test_nobody_of_that_name(ann: str) -> None:
    said = reasons(caller("engineer").post("requests/", user="nobody-77", requested_by=building.ADMIN))
    assert "nobody of that name" in said and "nobody-77" not in said
    assert not ErasureRequest.objects.exclude(state="received").exists()


def test_rejecting_extending_cancelling() -> None:
    officer, engineer = caller("officer"), caller("engineer")
    request = building.planned(received_at=timezone.now() - timedelta(days=20))
    at = f"requests/{request.pk}"
    for verb in ("reject", "extend"):
        assert "reason: This field is required." in reasons(officer.post(f"{at}/{verb}/"), 400)
        assert "none of the roles" in reasons(engineer.post(f"{at}/{verb}/", reason="many systems"))
    assert "none of the roles" in reasons(engineer.post(f"{at}/cancel/"))
    assert "none of the roles" in reasons(officer.post(f"{at}/around-hold/", reason="go on"))
    assert "never started" in reasons(officer.post(f"{at}/retry/"))
    before = request.deadline
    answer(officer.post(f"{at}/extend/", reason="many systems"))
    request.refresh_from_db()
    assert request.deadline > before + timedelta(days=27)
    assert "one extension" in reasons(officer.post(f"{at}/extend/", reason="more"))
    assert answer(officer.post(f"{at}/reject/", reason="Ann Doe is unknown"))["state"] == "rejected"
    assert "can't become" in reasons(officer.post(f"{at}/reject/", reason="again"))
    other = building.planned("u-2")
    assert answer(officer.post(f"requests/{other.pk}/cancel/"))["state"] == "cancelled"
    assert "Ann Doe" not in str(list(AuditEvent.objects.values_list("data", flat=True)))


def test_what_a_hidden_hold_stops_is_retained_outside_legal(actors: dict[str, Actor]) -> None:
    request = building.approved(actors)
    tenants.publish_map(own_rows.DATAMAP.read_text(), actor=SYSTEM)
    run = Run.objects.create(workflow="erasure", subject=request.pk, tenant_id="acme")
    hold = holds.place(actor=actors["legal"], tenant_id="acme", case_reference="Secret 7", type="criminal")
    # What a run and its steps say is shown to everybody who watches them.
    assert gates.gate(run) == "The request is retained under Art. 17(3)."
    assert str(fencing.Held([hold.pk])) == "Nothing is destroyed: retained under Art. 17(3)."
    for name in ("officer", "engineer", "auditor"):
        who = caller(name)
        assert answer(who.get("holds/")) == []
        for place in ("requests/", f"requests/{request.pk}/", f"requests/{request.pk}/preview/"):
            response = who.get(place)
            assert response.status_code == 200
            text = response.content.decode()
            assert '"retained"' in text
            for told in ("blocked", "Secret 7", "criminal"):
                assert told not in text, (name, place)
    assert answer(caller("legal").get(f"requests/{request.pk}/"))["state"] == "blocked_by_hold"
