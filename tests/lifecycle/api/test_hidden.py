"""Outside legal the command line knows a hidden hold as little as the API does: what it stops is retained, no more."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from compliance.actions import holds
from compliance.actors import Actor
from compliance.models import LegalHold
from lifecycle.models import Run
from tests.compliance import building

SECRETS = ("Secret 7", "criminal", "blocked_by_hold", "blocked by hold", "legal hold")


def said(*words: str) -> str:
    """Standard output and error of a command, whether it succeeds or not."""
    out = io.StringIO()
    try:
        call_command(*words, stdout=out, stderr=out)
    except (CommandError, SystemExit) as end:
        out.write(str(end))
    return out.getvalue()


@pytest.fixture
def hidden(actors: dict[str, Actor]) -> LegalHold:
    return holds.place(actor=actors["legal"], tenant_id="acme", case_reference="Secret 7", type="criminal")


@pytest.mark.parametrize("who", [(), ("--as", "officer"), ("--as", "engineer"), ("--as", "auditor")])
def test_only_legal_reads_more_than_that_something_is_retained(
    hidden: LegalHold, who: tuple[str, ...]
) -> None:
    request = building.planned()
    run = Run.objects.create(workflow="preservation", subject=hidden.pk, tenant_id="acme")
    assert request.state == "blocked_by_hold"
    asked: dict[str, Any] = {
        "status": ("erasure", "status", request.pk, "--json"),
        "requests": ("erasure", "list", "--json"),
        "watch": ("erasure", "watch", request.pk),
        "approve": ("erasure", "approve", request.pk, *(who or ("--as", "officer2"))),
        "retry": ("erasure", "retry", request.pk, *who),
        "certificate": ("erasure", "certificate", request.pk, "--out", "/nonexistent"),
    }
    told = {name: said(*words) for name, words in asked.items()}
    for name, text in told.items():
        assert "retained" in text or name == "retry", (name, text)
        for secret in SECRETS:
            assert secret not in text, (name, text)
    for words in (("list",), ("list", "--subject", hidden.pk), ("show", run.pk)):
        text = said("run", *words, *who, "--json")
        assert hidden.pk not in text.replace(" ".join(words), "")
        assert "preservation" not in text


@pytest.mark.parametrize("who", [None, "officer", "engineer", "auditor"])
def test_a_hidden_hold_answers_outside_legal_as_one_that_never_was(
    hidden: LegalHold, who: str | None
) -> None:
    named = ("--as", who) if who else ()
    assert json.loads(said("hold", "list", *named, "--json")) == []
    for words in (("show",), ("release", "--reason", "r")) if who else (("show",),):
        there, never = (said("hold", *words, pk, *named, "--json") for pk in (hidden.pk, "lh-none"))
        assert there == never and "Check the id" in there
    hidden.refresh_from_db()
    assert hidden.release_requested_by is None


def test_metrics_do_not_tell_of_a_hidden_hold(
    hidden: LegalHold, actors: dict[str, Actor], client: Client
) -> None:
    building.planned("u-1")
    Run.objects.create(workflow="preservation", subject=hidden.pk, tenant_id="acme")
    text = client.get("/metrics").content.decode()
    assert "lifecycle_legal_holds 0\n" in text
    assert 'lifecycle_erasure_requests{state="retained"} 1\n' in text
    assert "blocked_by_hold" not in text and "preservation" not in text
    holds.place(actor=actors["legal"], tenant_id="acme", case_reference="C-2", type="litigation")
    text = client.get("/metrics").content.decode()
    assert "lifecycle_legal_holds 1\n" in text
    assert 'lifecycle_erasure_requests{state="blocked_by_hold"} 1\n' in text


def test_legal_reads_all(hidden: LegalHold) -> None:
    run = Run.objects.create(workflow="preservation", subject=hidden.pk, tenant_id="acme")
    assert "Secret 7" in said("hold", "show", hidden.pk, "--as", "legal", "--json")
    assert hidden.pk in said("hold", "list", "--as", "legal", "--json")
    assert run.pk in said("run", "list", "--as", "legal", "--json")
    assert hidden.pk in said("run", "show", run.pk, "--as", "legal", "--json")
