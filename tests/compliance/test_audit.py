"""The audit chain and its signed daily heads."""

from __future__ import annotations

import io
import json
import threading
from datetime import timedelta
from hashlib import sha256

import pytest
import rfc8785
from django.db import connection, transaction
from django.utils import timezone

from compliance import audit
from compliance.actions import heads
from compliance.actors import SYSTEM
from compliance.models import AuditEvent, AuditHead
from tests.compliance import building


@pytest.mark.django_db(transaction=True)
def test_many_writers_make_one_chain() -> None:
    with pytest.raises(RuntimeError, match="inside the transaction"):
        audit.record("x", actor=SYSTEM)

    def write() -> None:
        for number in range(10):
            with transaction.atomic():
                audit.record("test.written", actor=SYSTEM, data={"n": number})
        connection.close()

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert list(AuditEvent.objects.values_list("seq", flat=True)) == list(range(1, 61))
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        audit.record("test.undone", actor=SYSTEM)
        raise ZeroDivisionError
    assert audit.verify() == [] and AuditEvent.objects.count() == 60


@pytest.mark.django_db
def test_the_export_proves_itself() -> None:
    building.tenant()
    building.planned()
    out = io.StringIO()
    assert audit.export(out) == AuditEvent.objects.count() == len(list(audit.events()))
    previous = audit.GENESIS
    for line in out.getvalue().splitlines():
        event = json.loads(line)
        stated, before = event.pop("hash"), event.pop("previous")
        assert before == previous
        assert stated == sha256(before.encode() + rfc8785.dumps(event)).hexdigest()
        previous = stated


@pytest.mark.django_db
def test_a_signed_head_shows_a_cut_tail() -> None:
    today = timezone.now().date()
    assert heads.sign(today) is None
    audit.record_now("test.one", actor=SYSTEM)
    audit.record_now("test.two", actor=SYSTEM)
    head = heads.sign(today)
    assert head is not None and head.seq == 2 and head.stored_key
    assert heads.sign(today) == head and AuditHead.objects.count() == 1
    assert heads.verify() == []
    assert heads.sign(today - timedelta(days=1)) is None
    # Each of these as an owner who disables triggers could do it.
    for sabotage, problem in (
        ("DELETE FROM compliance_auditevent WHERE seq = 2", "Audit event 2, signed on"),
        ("UPDATE compliance_audithead SET hash = repeat('a', 64)", "is not the one that was signed"),
        (
            "UPDATE compliance_audithead SET signature = replace(signature, 'BEGIN', 'BEGUN')",
            "signature of the audit head",
        ),
        (
            "UPDATE compliance_audithead SET document = replace(document, '\"seq\":2', '\"seq\":1')",
            "differs from the document",
        ),
    ):
        with transaction.atomic(), connection.cursor() as cursor:
            for table in ("compliance_auditevent", "compliance_audithead"):
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            cursor.execute(sabotage)
            assert problem in " ".join(heads.verify())
            transaction.set_rollback(True)
    assert heads.verify() == []
