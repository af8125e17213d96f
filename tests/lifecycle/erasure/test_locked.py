"""What S3 Object Lock keeps is named until its date, holds the certificate back, and is erased when the lock ends."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo.platform.cast import Customer
from lifecycle.engine import advance
from lifecycle.erasure import actions
from lifecycle.models import Environment, Step, SystemLine
from tests.lifecycle.erasure import planting
from tests.lifecycle.erasure.world import World, failures

SECONDS = 20


class Bucket:
    """A bucket under Object Lock in which a tenant keeps its objects."""

    def __init__(self, region: dict[str, Any]) -> None:
        self.name = f"locked-{uuid.uuid4().hex[:10]}"
        self.client = planting.s3(region)
        self.client.create_bucket(Bucket=self.name, ObjectLockEnabledForBucket=True)
        enabled = {"Status": "Enabled"}
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration=enabled)

    def put(self, key: str) -> str:
        """Writes an object and gives its version."""
        version: str = self.client.put_object(Bucket=self.name, Key=key, Body=key.encode())["VersionId"]
        return version

    def retain(self, key: str, version: str, until: datetime) -> None:
        """Nobody may delete the version before `until`."""
        self.client.put_object_retention(
            Bucket=self.name, Key=key, VersionId=version,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until},
        )  # fmt: skip

    def hold(self, key: str, version: str, status: str) -> None:
        """A legal hold that nobody of ours placed: it has no date."""
        self.client.put_object_legal_hold(
            Bucket=self.name, Key=key, VersionId=version, LegalHold={"Status": status}
        )

    def keys(self) -> list[str]:
        """Keys of every version."""
        found = self.client.list_object_versions(Bucket=self.name)
        return [each["Key"] for each in found.get("Versions", [])]


@pytest.fixture
def locked(world: World) -> tuple[Customer, Bucket]:
    """A tenant whose objects lie in a bucket of its own, under Object Lock."""
    customer = world.tenant("ada", systems=("postgresql", "s3"))
    bucket = Bucket(world.stack["regions"]["us-east-1"])
    environment = Environment.objects.get(tenant_id=customer.id)
    environment.places["s3"]["bucket"] = bucket.name
    environment.save()
    return customer, bucket


def test_locked_objects_are_named_waited_for_and_erased(
    world: World, locked: tuple[Customer, Bucket]
) -> None:
    customer, bucket = locked
    folder = f"tenant-{customer.id}/user-ada/"
    dated, held = bucket.put(folder + "dated"), bucket.put(folder + "held")
    bucket.put(folder + "free")
    request = world.request(customer, "ada")
    run = world.approve(request)
    planting.work_until(run, stage=6)
    until = (datetime.now(UTC) + timedelta(seconds=SECONDS)).replace(microsecond=0)
    bucket.retain(folder + "dated", dated, until)
    bucket.hold(folder + "held", held, "ON")

    step = run.steps.get(name="erase", lane="s3")
    assert _work(step) == "wait"
    for other in run.steps.filter(stage=6).exclude(lane="s3"):
        _work(other)
    now = world.status(request)
    assert now["state"] == "executing"
    assert now["systems"]["s3"]["state"] == "locked"
    assert now["systems"]["s3"]["locked_until"] == f"{until:%Y-%m-%dT%H:%M:%SZ}"
    assert f"2 items are locked until {until:%Y-%m-%d %H:%M} UTC" in Step.objects.get(pk=step.pk).error
    assert now["systems"]["s3"]["erased"] < now["systems"]["s3"]["found"]
    assert sorted(bucket.keys()) == [folder + "dated", folder + "held"]
    assert run.steps.get(name="settle").state == "waiting"

    while datetime.now(UTC) <= until:
        time.sleep(0.2)
    assert _work(step) == "wait"
    assert bucket.keys() == [folder + "held"]
    line = SystemLine.objects.get(case_id=request.pk, system="s3")
    assert (line.state, line.locked_until, len(line.detail["locked"])) == ("locked", None, 1)
    assert request.certificates.count() == 0

    bucket.hold(folder + "held", held, "OFF")
    actions.wake(request)
    assert world.finish(run).state == "done", list(failures(run))
    now = world.status(request)
    assert now["state"] == "completed"
    assert now["systems"]["s3"]["erased"] == now["systems"]["s3"]["found"] == 3
    assert now["systems"]["s3"]["residue"] == 0
    assert now["systems"]["s3"]["locked_until"] is None
    assert bucket.keys() == []
    assert request.certificates.get().issued_at >= until


def _work(step: Step) -> str:
    """One step until it has nothing more to do now."""
    while (word := advance.advance(step.pk)) == "more":
        pass
    return word
