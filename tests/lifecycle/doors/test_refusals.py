"""What must not be is refused by every door: admin, API, command line, actions in the shell, raw ORM on the models."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import Error, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compliance import signed
from compliance.actions import deciding
from compliance.actors import SYSTEM, Actor, person
from compliance.errors import Refused
from compliance.models import Decision, ErasureRequest
from lifecycle.erasure import intake
from tests.compliance import building
from tests.lifecycle.api.calling import caller, reasons

PASSWORD = "correct horse battery"
REQUEST = "admin:compliance_erasurerequest"


@pytest.fixture(autouse=True)
def _signed_in(actors: dict[str, Actor]) -> Iterator[None]:
    """Everybody may enter the admin, with PASSWORD."""
    User.objects.update(is_staff=True, password=make_password(PASSWORD))
    yield


def by_admin(name: str, request: ErasureRequest, digest: str) -> str:
    """What the page says after the approval was posted with the right password."""
    client = _browser(name)
    url = reverse(f"{REQUEST}_do", args=[request.pk, "approve"])
    return _said(client.post(url, {"digest": digest, "password": PASSWORD}, follow=True))


def by_api(name: str, request: ErasureRequest, digest: str) -> str:
    """Why the API refuses."""
    return reasons(caller(name).post(f"requests/{request.pk}/approve/", digest=digest))


def by_command(name: str, request: ErasureRequest, digest: str) -> str:
    """Why the command line refuses."""
    with pytest.raises(CommandError) as caught:
        call_command(
            "erasure", "approve", request.pk, "--as", name, "--digest", digest,
            stdout=io.StringIO(), stderr=io.StringIO(),
        )  # fmt: skip
    return str(caught.value)


def by_shell(name: str, request: ErasureRequest, digest: str) -> str:
    """Why the action refuses."""
    with pytest.raises(Refused) as caught:
        deciding.approve(request, actor=person(User.objects.get(username=name)), digest=digest)
    return str(caught.value)


DOORS = (by_admin, by_api, by_command, by_shell)


def decide_by_orm(name: str, request: ErasureRequest, digest: str, role: str = "compliance") -> str:
    """Why the database refuses a decision written past the actions, and the state that would follow it."""
    user = User.objects.get(username=name)
    facts = {"kind": "approve", "digest": digest, "decider_pseudonym": deciding.decider_pseudonym(user)}
    text = _database_refuses(lambda: Decision.objects.create(request=request, role=role, user=user, **facts))
    rows = ErasureRequest.objects.filter(pk=request.pk)
    for state in ("scheduled", "executing", "completed"):
        _database_refuses(partial(rows.update, state=state))
    return text


def _database_refuses(does: Callable[[], Any]) -> str:
    with pytest.raises(Error) as caught, transaction.atomic():
        does()
    return str(caught.value)


def nothing_happened(request: ErasureRequest, standing: int = 0) -> None:
    """The row, read again, waits as before."""
    row = ErasureRequest.objects.get(pk=request.pk)
    assert row.state == "awaiting_approval"
    assert row.decisions.filter(voided_at=None).count() == standing


def test_nobody_approves_what_they_filed_or_asked_for(actors: dict[str, Actor]) -> None:
    User.objects.filter(username="officer2").update(email=building.ADMIN)
    request = building.plan(building.filed(actor=actors["officer"]))
    for name, why in (("officer", "filed this request"), ("officer2", "made this request")):
        for door in DOORS:
            assert why in door(name, request, request.digest), door
            nothing_happened(request)
        assert "filed or made" in decide_by_orm(name, request, request.digest)
    nothing_happened(request)


@pytest.mark.parametrize("subject", ["u-1", None])
def test_an_approval_of_what_was_shown_before_an_edit_is_stale(
    actors: dict[str, Actor], subject: str | None
) -> None:
    request = building.planned(subject)
    seen = request.digest
    if subject is None:
        deciding.approve(request, actor=actors["legal"], digest=seen)
    # Only a number grew; and, past the actions, a clause was edited.
    building.plan(request, found={**building.FOUND, "s3": {"found": 900, "kinds": {"object_version": 900}}})
    grown = request.digest
    ErasureRequest.objects.filter(pk=request.pk).update(plan={**request.plan, "datamap_version": 2})
    request.refresh_from_db()
    assert len({seen, grown, request.digest}) == 3
    for digest in (seen, grown):
        for door in DOORS:
            assert "The plan changed since it was shown" in door("officer", request, digest), door
            nothing_happened(request)
        assert "plan as it stands" in decide_by_orm("officer", request, digest)
    nothing_happened(request)


def test_the_wrong_role_does_not_approve(actors: dict[str, Actor]) -> None:
    request = building.planned()
    for name in ("engineer", "legal"):
        for door in DOORS:
            assert f"{name} has none of the roles" in door(name, request, request.digest), door
            nothing_happened(request)
        assert "does not have the role" in decide_by_orm(name, request, request.digest)
    assert "does not have the role" in decide_by_orm("engineer", request, request.digest, "legal")
    # An auditor's token can't even have the scope; a deciding account that becomes an auditor's loses its word.
    demoted = caller("officer2")
    User.objects.get(username="officer2").groups.clear()
    said = reasons(demoted.post(f"requests/{request.pk}/approve/", digest=request.digest))
    assert "officer2 has none of the roles" in said
    refused = caller("auditor").post(f"requests/{request.pk}/approve/", digest=request.digest)
    assert "lacks the scope" in reasons(refused, 403)
    for door in (by_admin, by_command, by_shell):
        assert "auditor has none of the roles" in door("auditor", request, request.digest), door
    nothing_happened(request)
    # Legal's own word may be written down; it is not the one that a user's request needs.
    legal = User.objects.get(username="legal")
    Decision.objects.create(
        request=request, kind="approve", role="legal", user=legal, digest=request.digest,
        decider_pseudonym=deciding.decider_pseudonym(legal),
    )  # fmt: skip
    rows = ErasureRequest.objects.filter(pk=request.pk)
    assert "missing" in _database_refuses(lambda: rows.update(state="scheduled"))
    nothing_happened(request, standing=1)


def test_a_tenant_is_not_erased_on_one_persons_word(actors: dict[str, Actor]) -> None:
    building.account("both", "compliance officer", "legal")
    User.objects.filter(username="both").update(is_staff=True, password=make_password(PASSWORD))
    request = building.planned(None)
    first = caller("both").post(f"requests/{request.pk}/approve/", digest=request.digest)
    assert (first.status_code, first.json()["state"]) == (200, "awaiting_approval")
    for door in DOORS:
        assert "has approved this already" in door("both", request, request.digest), door
        assert "an approval by legal" in door("officer", request, request.digest), door
        nothing_happened(request, standing=1)
    decide_by_orm("both", request, request.digest, "legal")
    decide_by_orm("officer", request, request.digest, "legal")
    nothing_happened(request, standing=1)


def test_a_forged_signed_request_is_not_taken_in(actors: dict[str, Actor], settings: Any) -> None:
    platform, forger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    settings.REQUEST_PUBLIC_KEYS = [
        platform.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    ]
    received = (timezone.now() - timedelta(days=3)).replace(microsecond=0)
    forged = [_signature(forger, "u-1", received), _signature(platform, "u-2", received), "x"]
    for signature in forged:
        for door in (_ask_admin, _ask_api, _ask_command, _ask_shell):
            text = door(received, signature)
            assert "signature is not genuine" in text, (door, text)
            assert "ann@home.example" not in text or door is _ask_admin  # whose form keeps what was typed
            assert not ErasureRequest.objects.exists()
    # Past the actions a row can be written, yet not one that is further than `received`.
    genuine = building.filed(
        requested_by="ann@home.example", received_at=received, signature=_signature(platform, "u-1", received)
    )
    facts = {
        each.attname: getattr(genuine, each.attname)
        for each in ErasureRequest._meta.concrete_fields
        if each.attname not in ("id", "state")
    }
    for state in ("awaiting_approval", "scheduled", "executing"):
        _database_refuses(
            partial(ErasureRequest.objects.create, **{**facts, "id": "er-forged", "state": state})
        )
    assert list(ErasureRequest.objects.values_list("pk", "state")) == [(genuine.pk, "received")]


def _signature(key: Ed25519PrivateKey, user: str, received: datetime) -> str:
    return base64.b64encode(key.sign(signed.message("acme", user, "gdpr17", received))).decode()


def _asked(received: datetime, signature: str) -> dict[str, str]:
    return {
        "user": "u-1",
        "requested_by": "ann@home.example",
        "received_at": f"{received:%Y-%m-%dT%H:%M:%SZ}",
        "signature": signature,
    }


def _ask_admin(received: datetime, signature: str) -> str:
    form = {**_asked(received, signature), "tenant_id": "acme", "regime": "gdpr17", "ground": "b"}
    form["received_at"] = f"{received:%Y-%m-%dT%H:%M:%S}"
    return _said(_browser("officer").post(reverse(f"{REQUEST}_add"), form, follow=True))


def _ask_api(received: datetime, signature: str) -> str:
    who = caller("engineer", requested_by="ann@home.example")
    return reasons(who.post("requests/", **_asked(received, signature)))


def _ask_command(received: datetime, signature: str) -> str:
    words = [
        word
        for name, value in _asked(received, signature).items()
        for word in (f"--{name.replace('_', '-')}", value)
    ]
    with pytest.raises(CommandError) as caught:
        call_command("erasure", "request", "--tenant", "acme", *words, stdout=io.StringIO())
    return str(caught.value)


def _ask_shell(received: datetime, signature: str) -> str:
    facts = {**_asked(received, signature), "received_at": received}
    with pytest.raises(Refused) as caught:
        intake.request(actor=SYSTEM, tenant_id="acme", **facts)  # type: ignore[arg-type]
    return str(caught.value)


def _browser(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.get(username=name))
    return client


def _said(response: Any) -> str:
    return str(response.content.decode()).replace("&#x27;", "'").replace("&quot;", '"')
