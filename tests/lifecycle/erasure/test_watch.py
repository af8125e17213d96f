"""After the certificate: what comes back reopens the case and ends in an addendum; what a provider kept is closed at its
date."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from compliance.certificate import bundle, verification
from compliance.models import AuditEvent, Certificate, ErasureRequest
from lifecycle.erasure import actions, pending, watch
from lifecycle.models import SystemLine
from tests.lifecycle.erasure import planting, reading
from tests.lifecycle.erasure.world import Finished, World, failures


@pytest.fixture
def case(finished: Finished) -> ErasureRequest:
    """The completed request, as it is now."""
    return ErasureRequest.objects.get(pk=finished.request.pk)


def test_nothing_back_means_nothing_happens(case: ErasureRequest) -> None:
    assert watch.look(case) == 0

    case.refresh_from_db()
    assert case.state == "completed"
    assert case.certificates.count() == 1
    assert AuditEvent.objects.filter(case_id=case.pk, verb="erasure.watched").count() == 1
    assert not watch.due(case)


def test_a_row_that_came_back_reopens_and_ends_in_an_addendum(
    world: World, case: ErasureRequest, tmp_path: Path
) -> None:
    region = world.stack["regions"]["us-east-1"]
    planting.sql(
        region,
        "INSERT INTO queries (tenant_id, user_id, body) VALUES (%s, 'ada', 'restored from a dump')",
        [case.tenant_id],
    )

    assert watch.look(case) == 1
    case.refresh_from_db()
    assert case.state in ("reopened", "executing")
    assert "postgresql (1)" in case.state_reason

    run = actions.live_run(case)
    assert run is not None
    assert world.finish(run).state == "done", list(failures(run))
    case.refresh_from_db()
    assert case.state == "completed"
    assert reading.mentions(reading.rows(region), ['ada,"restored from a dump"'], within=case.tenant_id) == []
    first, second = case.certificates.order_by("number")
    assert (first.kind, second.kind, second.round) == ("certificate", "addendum", 1)
    _assert_genuine([first, second], tmp_path)


def test_at_the_providers_date_an_addendum_closes_what_was_kept(case: ErasureRequest, tmp_path: Path) -> None:
    kept = SystemLine.objects.get(case_id=case.pk, system="pinecone")
    assert kept.state == SystemLine.State.PENDING_PURGE
    assert case not in pending.due()
    before = list(case.certificates.order_by("number"))
    SystemLine.objects.filter(pk=kept.pk).update(purge_by=timezone.now() - timedelta(days=1))

    assert case in pending.due()
    assert pending.close(case)

    kept.refresh_from_db()
    assert kept.state == SystemLine.State.ERASED
    assert case not in pending.due()
    *earlier, last = case.certificates.order_by("number")
    assert earlier == before
    assert last.kind == "addendum"
    _assert_genuine([*earlier, last], tmp_path)


def _assert_genuine(certificates: list[Certificate], folder: Path) -> None:
    """Each file is genuine, and each seal names the one before; certificates of other cases lie between them."""
    files: list[Path] = []
    numbers = range(certificates[0].number, certificates[-1].number + 1)
    for number in numbers:
        files += bundle.write(Certificate.objects.get(number=number), folder)
    files = list(dict.fromkeys(files))
    assert verification.verify(files, trusted=[settings.SIGNING_FINGERPRINT]) == []
