"""Fixtures of the log tests: a region and an archive bucket of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from lifecycle.systems.cloudwatch import rewriting
from lifecycle.systems.cloudwatch.eraser import CloudWatchEraser
from lifecycle.systems.cloudwatch.eraser import connect as connect_eraser
from lifecycle.systems.cloudwatch.verifier import CloudWatchVerifier
from lifecycle.systems.cloudwatch.verifier import connect as connect_verifier
from tests.lifecycle.systems.cloudwatch.parts import MAP, REGION, Logs_

BUCKET = "log-archive-tests"


@pytest.fixture(scope="session")
def place(stack: dict[str, Any]) -> dict[str, str]:
    s3 = stack["regions"]["us-east-1"]["s3"]
    return {
        "endpoint": stack["regions"]["us-east-1"]["logs"]["endpoint"],
        "region": REGION,
        "archive_endpoint": s3["endpoint"],
        "archive_bucket": BUCKET,
        "archive_key": s3["key"],
        "archive_secret": s3["secret"],
    }


@pytest.fixture(scope="session")
def s3(place: dict[str, str]) -> Any:
    client = boto3.client(
        "s3",
        endpoint_url=place["archive_endpoint"],
        aws_access_key_id=place["archive_key"],
        aws_secret_access_key=place["archive_secret"],
        region_name="us-east-1",
    )
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return client


@pytest.fixture(scope="session")
def archived(s3: Any) -> Callable[[], list[tuple[str, str]]]:
    """Every version of every archived object."""

    def versions() -> list[tuple[str, str]]:
        answer = s3.list_object_versions(Bucket=BUCKET)
        return [
            (each["Key"], each["VersionId"])
            for each in answer.get("Versions", []) + answer.get("DeleteMarkers", [])
        ]

    return versions


@pytest.fixture
def logs(place: dict[str, str], s3: Any, archived: Callable[[], list[tuple[str, str]]]) -> Iterator[Logs_]:
    """The local service, empty before and after."""
    client = boto3.client(
        "logs",
        endpoint_url=place["endpoint"],
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    service = Logs_(client, place["endpoint"])

    def wipe() -> None:
        for group in service.groups():
            client.delete_log_group(logGroupName=group)
        for key, version in archived():
            s3.delete_object(Bucket=BUCKET, Key=key, VersionId=version)

    wipe()
    yield service
    wipe()


@pytest.fixture(autouse=True)
def nobody_else_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream rests for a moment only, where no test writes to it meanwhile."""
    monkeypatch.setattr(rewriting, "QUIET", 0.1)


@pytest.fixture
def eraser(place: dict[str, str], logs: Logs_) -> Iterator[CloudWatchEraser]:
    made = connect_eraser(place, MAP)
    yield made
    made.close()


@pytest.fixture
def verifier(place: dict[str, str], logs: Logs_) -> Iterator[CloudWatchVerifier]:
    made = connect_verifier(place, MAP)
    yield made
    made.close()
