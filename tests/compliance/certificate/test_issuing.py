"""A certificate is issued exactly once, in a chain without gaps, and lies under a lock that nobody can lift."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from django.conf import settings as live
from django.db import connections, transaction
from django.db.utils import IntegrityError, InternalError
from pytest_django import DjangoDbBlocker

from compliance.actions import certifying
from compliance.actors import SYSTEM, Actor
from compliance.certificate import bundle, store, verification
from compliance.errors import Refused
from compliance.models import AuditEvent, Certificate, ErasureRequest
from tests.compliance import building
from tests.compliance.certificate import samples
from tests.compliance.conftest import until

SALT = b"s" * 32


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[dict[str, Actor]]:
    """People, with real commits. What a test makes stays: certificates and audit events are never removed."""
    with django_db_blocker.unblock():
        building.tenant()
        yield building.people()
        connections.close_all()


def certifying_request(actors: dict[str, Actor]) -> ErasureRequest:
    """An approved request of a new user that stands at `certifying`."""
    return building.moved(actors, "executing", "verifying", "certifying", user=building.a_user())


def evidence_of(request: ErasureRequest, **changes: Any) -> dict[str, Any]:
    """Evidence of a user's request, its commitment made with SALT."""
    given = samples.user(**changes)
    given["request"] |= {"id": request.pk, "subject_commitment": certifying.commitment(SALT, "acme", "u-1")}
    return given


def issue(request: ErasureRequest, **changes: Any) -> Certificate:
    """The certificate of the request's first round."""
    return certifying.issue(request, actor=SYSTEM, evidence=evidence_of(request, **changes), salt=SALT)


def test_nothing_is_issued_before_its_time(committed: dict[str, Actor]) -> None:
    request = building.moved(committed, "executing", user=building.a_user())
    numbers, events = Certificate.objects.count(), AuditEvent.objects.count()
    with pytest.raises(Refused, match="once it stands at certifying"):
        issue(request)
    request = certifying_request(committed)
    events = AuditEvent.objects.count()
    for evidence in (
        evidence_of(request, bystanders={"unchanged": 0, "changed": 0, "unexplained": 2}),
        samples.user(),
    ):
        with pytest.raises(Refused):
            certifying.issue(request, actor=SYSTEM, evidence=evidence)
    with pytest.raises(Refused, match="none of the roles"):
        certifying.issue(request, actor=committed["auditor"], evidence=evidence_of(request))
    assert (Certificate.objects.count(), AuditEvent.objects.count()) == (numbers, events)


def test_many_at_once_make_one_each_in_a_chain_without_gaps(
    committed: dict[str, Actor], tmp_path: Path
) -> None:
    requests = [certifying_request(committed) for _ in range(2)]
    before = Certificate.objects.count()

    def work(request: ErasureRequest) -> str:
        try:
            return str(issue(ErasureRequest.objects.get(pk=request.pk)).pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(work, requests * 3))
    assert len(set(made)) == 2
    assert made == made[:2] * 3
    assert Certificate.objects.count() == before + 2
    for request in requests:
        certificate = request.certificates.get()
        assert AuditEvent.objects.filter(case_id=request.pk, verb="certificate.issued").count() == 1
        assert AuditEvent.objects.filter(case_id=request.pk, verb="certificate.stored").count() == 1
        bundle.write(certificate, tmp_path)
    assert verification.verify([tmp_path], trusted=[live.SIGNING_FINGERPRINT]) == []
    numbers = list(Certificate.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))


def test_killed_between_signing_and_storing(committed: dict[str, Actor]) -> None:
    request = certifying_request(committed)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        connections.close_all()
        child = os.fork()
        if child == 0:
            # A store that takes connections and never answers.
            live.CERTIFICATE_STORE["endpoint"] = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            try:
                issue(request)
            finally:
                os._exit(1)
        try:
            until(lambda: request.certificates.exists(), 60)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    left = request.certificates.get()
    assert left.stored_at is None
    assert left.escrow.sealed
    again = certifying.issue(
        request, actor=SYSTEM, evidence=evidence_of(request, round=0, datamap_version=9), salt=b"x"
    )
    assert again.pk == left.pk
    assert bytes(again.document) == bytes(left.document)
    left.refresh_from_db()
    assert left.stored_at is not None
    assert request.certificates.count() == 1


def test_it_lies_under_a_lock_for_seven_years_and_is_never_edited(committed: dict[str, Actor]) -> None:
    certificate = issue(certifying_request(committed))
    assert certificate.locked_until == store.lock_end(certificate.issued_at)
    assert certificate.locked_until - certificate.issued_at >= timedelta(days=7 * 365)
    folder = f"certificates/{certificate.number:08d}-{certificate.pk}"
    files = bundle.files(certificate)
    assert len(files) == 7
    client, bucket = store._client(), store._bucket()
    for name, data in files.items():
        assert store.read(f"{folder}/{name}") == data
        versions = client.list_object_versions(Bucket=bucket, Prefix=f"{folder}/{name}")["Versions"]
        exact = [version for version in versions if version["Key"] == f"{folder}/{name}"]
        assert len(exact) == 1
        with pytest.raises(ClientError):
            client.delete_object(
                Bucket=bucket,
                Key=f"{folder}/{name}",
                VersionId=exact[0]["VersionId"],
                BypassGovernanceRetention=True,
            )
    with pytest.raises((IntegrityError, InternalError)), transaction.atomic():
        Certificate.objects.filter(pk=certificate.pk).update(document=b"{}")


def test_a_folder_with_another_file_of_the_name_is_refused(
    committed: dict[str, Actor], tmp_path: Path
) -> None:
    certificate = issue(certifying_request(committed))
    (tmp_path / "public.asc").write_text("another")
    with pytest.raises(Refused, match=r"another public\.asc"):
        bundle.write(certificate, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["public.asc"]
    paths = bundle.write(certificate, tmp_path / "new", stem=certificate.request_id)
    assert {path.name for path in paths} > {
        f"{certificate.request_id}.json",
        f"{certificate.request_id}.seal.json.asc",
    }
    assert verification.verify(paths, trusted=[live.SIGNING_FINGERPRINT]) == []


def test_addendum_and_correction_belong_to_the_certificate(
    committed: dict[str, Actor], tmp_path: Path
) -> None:
    request = certifying_request(committed)
    closed = [{"system": "pinecone", "environment": "acme/us-east-1", "until": samples.PURGE, "observed_at": samples.PURGE, "how": "The provider's date has passed."}]  # fmt: skip
    with pytest.raises(Refused, match="has no certificate yet"):
        certifying.addendum(request, actor=SYSTEM, closed=closed)
    first = issue(request)
    added = certifying.addendum(request, actor=SYSTEM, closed=closed)
    assert certifying.addendum(request, actor=SYSTEM, closed=closed).pk == added.pk
    with pytest.raises(Refused, match="none of the roles"):
        certifying.correct(first, actor=committed["engineer"], statement="The date was wrong.")
    with pytest.raises(Refused, match="mail address"):
        certifying.correct(first, actor=committed["officer"], statement="It was ann@acme.example.")
    corrected = certifying.correct(
        first, actor=committed["officer"], statement="The deadline shown was one day early."
    )
    assert [each.kind for each in request.certificates.order_by("number")] == [
        "certificate",
        "addendum",
        "correction",
    ]
    for certificate in (first, added, corrected):
        bundle.write(certificate, tmp_path)
    assert verification.verify([tmp_path], trusted=[live.SIGNING_FINGERPRINT]) == []
