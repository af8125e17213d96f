"""A token opens one tenant, within its scopes, for as long as it and its owner's account stand."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import RequestFactory
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle

from compliance.actions import tokens
from compliance.actors import Actor
from compliance.api.throttling import AnonymousRate
from compliance.errors import Refused
from compliance.models import ApiRate, ApiToken, AuditEvent
from tests.compliance import building
from tests.lifecycle.api.calling import SCOPES, Caller, answer, caller, reasons

PLACES = ("requests/", "holds/", "certificates/", "audit/", "audit/verify/", "runs/")


def test_without_a_token_that_stands_nothing_opens() -> None:
    officer = caller("officer")
    for who in (Caller(), Caller("tlt_guess"), Caller(officer.token + "x"), Caller("a b")):
        for place in PLACES:
            assert who.get(place).status_code == 401, place
        assert who.post("requests/", requested_by=building.ADMIN).status_code == 401
    assert answer(officer.get("requests/")) == []
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "past its end" in reasons(officer.get("requests/"), 401)
    ApiToken.objects.update(expires_at=timezone.now() + timedelta(days=1))
    User.objects.filter(username="officer").update(is_active=False)
    assert officer.get("requests/").status_code == 401
    User.objects.filter(username="officer").update(is_active=True)
    assert officer.get("requests/").status_code == 200
    ApiToken.objects.update(revoked_at=timezone.now())
    assert officer.get("requests/").status_code == 401


def test_a_session_of_the_browser_opens_nothing() -> None:
    who = Caller()
    who.client.force_login(User.objects.get(username="officer"))
    assert who.get("requests/").status_code == 401


def test_each_scope_opens_its_own_verbs_only() -> None:
    request = building.planned()
    verbs = {
        "request": ("requests/", f"requests/{request.pk}/preview/", f"requests/{request.pk}/cancel/"),
        "decide": tuple(
            f"requests/{request.pk}/{verb}/"
            for verb in ("approve", "reject", "extend", "around-hold", "decide", "settle")
        ),
        "hold": ("holds/", "holds/lh-none/release/"),
        "run": (
            f"requests/{request.pk}/retry/",
            *(f"runs/run-none/{verb}/" for verb in ("pause", "resume", "cancel", "retry")),
        ),
    }
    for name, places in verbs.items():
        lacking = caller("officer", *(each for each in SCOPES if each != name))
        for place in places:
            assert f"lacks the scope `{name}`" in reasons(lacking.post(place), 403), place
    writing = caller("officer", *SCOPES[1:])
    for place in PLACES:
        assert "lacks the scope `read`" in reasons(writing.get(place), 403), place
    assert caller("officer", "read", "request").get(f"requests/{request.pk}/mentions/").status_code == 403
    request.refresh_from_db()
    assert (request.state, request.decisions.count()) == ("awaiting_approval", 0)


def test_another_tenants_objects_are_not_there(actors: dict[str, Actor]) -> None:
    building.tenant("other")
    request = building.planned()
    officer = caller("officer", tenant_id="other")
    legal = caller("legal", tenant_id="other")
    hold = answer(caller("legal").post("holds/", case="C-1", type="litigation"), 201)["id"]
    for place in ("requests/", "holds/", "certificates/", "runs/"):
        assert answer(officer.get(place)) == []
    assert not {each["case"] for each in answer(officer.get("audit/"))} & {request.pk, hold}
    request.refresh_from_db()
    found = [officer.get(f"requests/{request.pk}/"), officer.get(f"requests/{request.pk}/preview/")]
    found += [
        officer.post(f"requests/{request.pk}/approve/", digest=request.digest),
        officer.post(f"requests/{request.pk}/reject/", reason="no"),
        officer.post(f"requests/{request.pk}/cancel/"),
        officer.post(f"requests/{request.pk}/retry/"),
        legal.post(f"holds/{hold}/release/", reason="over"),
    ]
    for response in found:
        assert "nothing of this id" in reasons(response, 404)
    assert answer(legal.get("holds/")) == []
    assert "blocked_by_hold" in answer(caller("legal").get(f"requests/{request.pk}/"))["state"]


def test_too_many_calls_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserRateThrottle, "THROTTLE_RATES", {"user": "3/min", "anon": "3/min"})
    officer, other = caller("officer"), caller("legal")
    assert [officer.get("requests/").status_code for _ in range(4)] == [200, 200, 200, 429]
    last = officer.get("holds/")
    assert int(last["Retry-After"]) > 0
    assert "throttled" in reasons(last, 429)
    # Another token of the same account does not help; other accounts are not concerned.
    assert caller("officer").get("requests/").status_code == 429
    assert other.get("requests/").status_code == 200


def test_calls_are_counted_for_all_processes_together_and_name_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(UserRateThrottle, "THROTTLE_RATES", {"user": "2/min", "anon": "2/min"})
    officer = caller("officer")
    assert [officer.get("requests/").status_code for _ in range(2)] == [200, 200]
    cache.clear()  # what a process has of its own
    assert caller("officer").get("requests/").status_code == 429
    rate = ApiRate.objects.get()
    assert rate.calls == 3
    assert len(rate.key) == 64

    ApiRate.objects.update(began=timezone.now() - timedelta(seconds=61))
    assert officer.get("requests/").status_code == 200
    rate.refresh_from_db()
    assert rate.calls == 1
    assert ApiRate.forget() == 0
    ApiRate.objects.update(began=timezone.now() - timedelta(days=3))
    assert ApiRate.forget() == 1


def test_an_address_that_a_caller_invents_is_not_believed() -> None:
    seen = {
        AnonymousRate().get_ident(Request(RequestFactory().get("/", headers={"X-Forwarded-For": invented})))
        for invented in ("192.0.2.1", "192.0.2.2")
    }
    assert len(seen) == 1


def test_nobody_issues_a_token_that_decides_for_somebody_else(actors: dict[str, Actor]) -> None:
    facts: dict[str, Any] = {"tenant_id": "acme", "name": "x", "requested_by": building.ADMIN}
    legal, auditor = (User.objects.get(username=name) for name in ("legal", "auditor"))
    for scope in ("decide", "hold", "run"):
        for issuer in ("officer", "engineer"):
            with pytest.raises(Refused, match="issued by its owner alone"):
                tokens.issue(actor=actors[issuer], user=legal, scopes=["read", scope], **facts)
    with pytest.raises(Refused, match="none of the roles"):
        tokens.issue(actor=actors["auditor"], user=auditor, scopes=["decide"], **facts)
    with pytest.raises(Refused, match="Name the one requester"):
        tokens.issue(actor=actors["legal"], user=legal, scopes=["request"], tenant_id="acme", name="x")
    assert not ApiToken.objects.exists()
    assert (
        tokens.issue(actor=actors["legal"], user=legal, scopes=["decide", "hold"], **facts)[0].user == legal
    )


def test_the_command_issues_lists_and_revokes() -> None:
    def token(*words: str) -> Any:
        out = io.StringIO()
        call_command("token", *words, "--json", stdout=out)
        return json.loads(out.getvalue())

    words = ("issue", "--tenant", "acme", "--name", "desk", "--scope", "read", "--scope", "decide")
    with pytest.raises(CommandError, match="issued by its owner alone"):
        token(*words, "--user", "legal", "--as", "officer")
    with pytest.raises(CommandError, match="none of the roles"):
        token(*words, "--user", "auditor", "--as", "auditor")
    made = token(*words, "--user", "officer", "--as", "officer")
    assert (made["scopes"], made["standing"]) == (["decide", "read"], "valid")
    assert caller("officer").get("requests/").status_code == 200
    assert Caller(made["token"]).get("requests/").status_code == 200
    listed = token("list", "--tenant", "acme")
    assert made["id"] in {each["id"] for each in listed} and "token" not in listed[0]
    assert made["token"] not in str(listed) + str(list(AuditEvent.objects.values_list("data", flat=True)))
    with pytest.raises(CommandError, match="none of the roles"):
        token("revoke", str(made["id"]), "--as", "auditor")
    assert token("revoke", str(made["id"]), "--as", "engineer")["standing"] == "revoked"
    assert Caller(made["token"]).get("requests/").status_code == 401
