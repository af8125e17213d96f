"""What raw SQL and the shell on the models can't do, as the application's own role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from django.contrib.auth.models import User
from django.db import Error, connection, transaction
from django.utils import timezone

from compliance import audit
from compliance.actions import deciding, executing, holds, states
from compliance.actors import SYSTEM, Actor
from compliance.errors import Refused
from compliance.models import AuditEvent, AuditHead, Certificate, Decision, ErasureRequest, LegalHold
from tests.compliance import building
from tests.compliance.conftest import raw

pytestmark = pytest.mark.usefixtures("application_role")


@pytest.fixture
def actors(application_role: str) -> dict[str, Actor]:
    building.tenant()
    return building.people()


def refused(does: Callable[..., Any], **facts: Any) -> str:
    """The database's words when it refuses."""
    with pytest.raises(Error) as caught, transaction.atomic():
        does(**facts)
    return str(caught.value)


def sql(statement: str, *values: Any) -> Callable[[], Any]:
    def run() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)

    return run


def approve_by_shell(request: ErasureRequest, who: Actor, role: str, **changed: Any) -> Callable[[], Any]:
    user = User.objects.get(username=who.name)
    facts: dict[str, Any] = {
        "decider_pseudonym": deciding.decider_pseudonym(user),
        "digest": request.digest,
        **changed,
    }
    return lambda: Decision.objects.create(request=request, kind="approve", role=role, user=user, **facts)


def test_the_application_is_not_the_owner(application_role: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, (SELECT tableowner FROM pg_tables WHERE tablename = 'compliance_auditevent')"
        )
        user, owner = cursor.fetchone() or ("", "")
    assert user == application_role != owner


def test_audit_rows_stay(actors: dict[str, Actor], stack: dict[str, Any]) -> None:
    building.filed()
    before = list(AuditEvent.objects.values_list("hash", flat=True))
    changes = [
        f"{verb} compliance_auditevent {rest}"
        for verb, rest in (("UPDATE", "SET actor = 'x'"), ("DELETE FROM", ""), ("TRUNCATE", ""))
    ]
    for statement in changes:
        assert "permission denied" in refused(sql(statement))
    # And where somebody grants the right by mistake, the trigger refuses.
    with owner(stack) as cursor:
        cursor.execute("GRANT UPDATE, DELETE, TRUNCATE ON compliance_auditevent TO lifecycle_app")
        try:
            for statement in changes:
                assert "only ever added" in refused(sql(statement))
        finally:
            cursor.execute("REVOKE UPDATE, DELETE, TRUNCATE ON compliance_auditevent FROM lifecycle_app")
    assert list(AuditEvent.objects.values_list("hash", flat=True)) == before
    assert audit.verify() == []


@contextmanager
def owner(stack: dict[str, Any]) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor of the role that owns the tables."""
    session = psycopg2.connect(stack["control_owner"], dbname=connection.settings_dict["NAME"])
    session.autocommit = True
    try:
        with session.cursor() as cursor:
            yield cursor
    finally:
        session.close()


def test_an_owner_who_edits_is_found_by_the_chain(actors: dict[str, Actor], stack: dict[str, Any]) -> None:
    request = building.filed()
    with transaction.atomic():
        audit.record("one", actor=SYSTEM, case_id=request.pk)
        audit.record("two", actor=SYSTEM, case_id=request.pk)
    with owner(stack) as cursor:
        cursor.execute("ALTER TABLE compliance_auditevent DISABLE TRIGGER guard_rows")
        try:
            cursor.execute("UPDATE compliance_auditevent SET verb = 'other' WHERE verb = 'one' RETURNING seq")
            (edited,) = cursor.fetchone() or (0,)
            assert audit.verify() == [f"Audit event {edited} was edited: its hash does not fit its content."]
            cursor.execute("DELETE FROM compliance_auditevent WHERE seq = %s", [edited])
            assert audit.verify() == [f"Audit events {edited} to {edited} are missing."]
        finally:
            cursor.execute("ALTER TABLE compliance_auditevent ENABLE TRIGGER guard_rows")


def test_an_audit_event_continues_the_last(actors: dict[str, Actor]) -> None:
    building.filed()
    count = AuditEvent.objects.count()
    forged = AuditEvent(
        seq=count + 1, at=timezone.now(), actor="x", verb="x", previous="f" * 64, hash="e" * 64
    )
    assert "continues the last" in refused(forged.save, force_insert=True)
    forged.seq, forged.previous = count + 5, AuditEvent.objects.order_by("-seq")[0].hash
    assert "continues the last" in refused(forged.save, force_insert=True)


def test_no_request_begins_approved(actors: dict[str, Actor]) -> None:
    facts = {
        "tenant_id": "acme",
        "subject_kind": "user",
        "subject_pseudonym": "p",
        "requester_pseudonym": "r",
        "deadline": timezone.now(),
    }
    for state in set(states.S.values) - {"received"}:
        assert "begins as received" in refused(ErasureRequest.objects.create, state=state, **facts)


def test_states_follow_the_table(actors: dict[str, Actor]) -> None:
    with raw() as cursor:
        for old in states.S.values:
            for new in states.S.values:
                cursor.execute("SELECT compliance_may_follow(%s, %s)", [old, new])
                assert cursor.fetchone() == (new in states.TRANSITIONS[old],), (old, new)
    request = building.planned()
    for state in ("completed", "certifying", "received"):
        assert "can not become" in refused(ErasureRequest.objects.filter(pk=request.pk).update, state=state)


def test_a_request_is_not_scheduled_without_approval(actors: dict[str, Actor]) -> None:
    request = building.planned()
    request.state = "scheduled"
    assert "approvals of the current plan are missing" in refused(request.save)
    assert "missing" in refused(
        sql("UPDATE compliance_erasurerequest SET state = 'scheduled' WHERE id = %s", request.pk)
    )
    request.refresh_from_db()
    assert request.state == "awaiting_approval"


def test_nobody_approves_their_own(actors: dict[str, Actor]) -> None:
    building.account("officer")  # whose mail is the requester's below
    User.objects.filter(username="officer2").update(email=building.ADMIN)
    request = building.plan(building.filed(actor=actors["officer"]))
    assert "filed or made" in refused(approve_by_shell(request, actors["officer"], "compliance"))
    assert "filed or made" in refused(approve_by_shell(request, actors["officer2"], "compliance"))
    assert "filed or made" in refused(
        approve_by_shell(request, actors["officer"], "compliance", decider_pseudonym="")
    )
    assert Decision.objects.count() == 0


def test_roles_are_real(actors: dict[str, Actor]) -> None:
    request = building.planned(None)
    for name in ("legal", "engineer", "auditor"):
        assert "does not have the role" in refused(approve_by_shell(request, actors[name], "compliance"))
    for name in ("officer", "engineer"):
        assert "does not have the role" in refused(approve_by_shell(request, actors[name], "legal"))
    User.objects.filter(username="officer").update(is_active=False)
    assert "does not have the role" in refused(approve_by_shell(request, actors["officer"], "compliance"))


def test_a_tenant_needs_two_people(actors: dict[str, Actor]) -> None:
    both = building.account("both", "compliance officer", "legal")
    request = building.planned(None)
    approve_by_shell(request, both, "compliance")()
    assert "one_standing_approval_per_person" in refused(approve_by_shell(request, both, "legal"))
    assert "missing" in refused(ErasureRequest.objects.filter(pk=request.pk).update, state="scheduled")
    approve_by_shell(request, actors["officer"], "compliance")()
    assert "missing" in refused(ErasureRequest.objects.filter(pk=request.pk).update, state="scheduled")
    approve_by_shell(request, actors["legal"], "legal")()
    assert ErasureRequest.objects.filter(pk=request.pk).update(state="scheduled") == 1


def test_an_edit_makes_approvals_stale(actors: dict[str, Actor]) -> None:
    request = building.planned()
    seen = request.digest
    ErasureRequest.objects.filter(pk=request.pk).update(plan={**request.plan, "datamap_version": 2})
    assert "plan as it stands" in refused(
        approve_by_shell(request, actors["officer"], "compliance", digest=seen)
    )
    # The digest itself can't be set: the database computes it.
    ErasureRequest.objects.filter(pk=request.pk).update(digest=seen)
    request.refresh_from_db()
    assert request.digest not in (seen, "")
    deciding.approve(request, actor=actors["officer"], digest=request.digest)
    ErasureRequest.objects.filter(pk=request.pk).update(ground="d")
    assert "missing" in refused(ErasureRequest.objects.filter(pk=request.pk).update, state="executing")
    with pytest.raises(Refused, match="An approval of the current plan"):
        executing.move(request, "executing", actor=SYSTEM)


def test_who_asked_for_what_stays(actors: dict[str, Actor]) -> None:
    row = ErasureRequest.objects.filter(pk=building.filed().pk)
    others = {
        "received_at": timezone.now(),
        "filed_by_id": actors["officer2"].user_id,
        "subject_kind": "tenant",
        "regime": "ccpa",
    }
    for column in ("subject_pseudonym", "requester_pseudonym", *others):
        change = {column: others.get(column, "x" * 64)}
        assert "never edited" in refused(row.update, **change)
    assert "permission denied" in refused(sql("DELETE FROM compliance_erasurerequest"))


def test_decisions_are_only_voided(actors: dict[str, Actor]) -> None:
    request = building.planned(None)
    deciding.approve(request, actor=actors["officer"], digest=request.digest)
    decision = Decision.objects.get()
    for change in (
        {"digest": "x"},
        {"role": "legal"},
        {"user_id": actors["legal"].user_id},
        {"decided_at": timezone.now()},
    ):
        assert "never edited" in refused(Decision.objects.filter(pk=decision.pk).update, **change)
    assert "permission denied" in refused(decision.delete)
    Decision.objects.update(voided_at=timezone.now())
    assert "never edited" in refused(Decision.objects.update, voided_at=None)


def test_certificates_are_never_edited(actors: dict[str, Actor]) -> None:
    request = building.filed()
    facts: dict[str, Any] = {
        "document": b"{}",
        "pdf": b"%PDF",
        "seal": b"{}",
        "signatures": {"json": "x"},
        "seal_hash": "s",
        "fingerprint": "f",
    }
    certificate = Certificate.objects.create(number=1, request=request, **facts)
    changes = [
        *({name: value * 2 if not isinstance(value, dict) else {}} for name, value in facts.items()),
        {"number": 2},
        {"issued_at": timezone.now()},
    ]
    for change in changes:
        assert "never edited" in refused(Certificate.objects.filter(pk=certificate.pk).update, **change)
    Certificate.objects.update(stored_at=timezone.now())
    assert "never edited" in refused(Certificate.objects.update, stored_at=None)
    assert "permission denied" in refused(certificate.delete)
    AuditHead.objects.create(day="2026-01-01", seq=1, hash="h", document="{}", signature="s", fingerprint="f")
    assert "never edited" in refused(AuditHead.objects.update, hash="other")


def test_a_hold_needs_two_people_of_legal(actors: dict[str, Actor]) -> None:
    hold = holds.place(
        actor=actors["legal"],
        tenant_id="acme",
        case_reference="C-1",
        type="litigation",
        until=timezone.now() + timedelta(days=9),
    )
    row = LegalHold.objects.filter(pk=hold.pk)
    one, two, officer = (actors[name].user_id for name in ("legal", "legal2", "officer"))
    assert "second person" in refused(row.update, state="released", released_by=two, release_requested_by=one)
    assert "asked for by legal" in refused(
        row.update, state="release_requested", release_requested_by=officer
    )
    row.update(state="release_requested", release_requested_by=one)
    for person in (one, officer, None):
        assert "second person" in refused(row.update, state="released", released_by=person)
    assert "never edited" in refused(row.update, release_requested_by=two)
    assert "not reached its last day" in refused(row.update, state="expired")
    assert "never narrowed" in refused(row.update, until=timezone.now())
    assert "never narrowed" in refused(row.update, subject_pseudonym="somebody else")
    assert "permission denied" in refused(hold.delete)
    assert row.get().state == "release_requested"
    row.update(state="released", released_by=two)
    assert "ended does not change" in refused(row.update, state="active")
