"""A hold reaches into the providers: objects under S3 legal holds, nothing expires by itself; the last release undoes it."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from compliance.actions import holds
from compliance.models import ErasureRequest, LegalHold
from lifecycle import housekeeping
from lifecycle.engine import advance, runs
from lifecycle.erasure import actions
from lifecycle.models import Run
from lifecycle.preservation import workflow
from tests.lifecycle.erasure import planting
from tests.lifecycle.erasure.world import World, failures
from tests.lifecycle.systems.s3.tools import client


def _place(world: World, tenant: str, user: str | None = None) -> LegalHold:
    hold = holds.place(
        actor=world.actor("legal"), tenant_id=tenant, user=user, case_reference="C-1", type="litigation"
    )
    _work(workflow.start(hold))
    hold.refresh_from_db()
    return hold


def _lift(world: World, hold: LegalHold) -> None:
    """By two people; what the storage keeps is let go by a run of its own."""
    holds.release(hold, actor=world.actor("legal"), reason="settled")
    holds.release(hold, actor=world.actor("legal2"), reason="settled")


def _release(world: World, hold: LegalHold) -> None:
    _lift(world, hold)
    _work(workflow.let_go(hold))


def _work(run: Run) -> None:
    assert runs.execute(run, timeout=120).state == "done", list(failures(run))


class Provider:
    """What the real servers say of one tenant."""

    def __init__(self, stack: dict[str, Any], tenant: str) -> None:
        region = stack["regions"]["us-east-1"]
        self.place, self.tenant = region["s3"], tenant
        self.bucket = self.place["bucket"]
        self.s3 = client(self.place)
        self.logs: Any = boto3.session.Session().client(
            "logs",
            endpoint_url=region["logs"]["endpoint"],
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        self.group = f"/ecs/tenant-{tenant}"

    def held(self, user: str) -> tuple[int, int]:
        """Versions under a legal hold, and all versions, below a user's prefix."""
        page = self.s3.list_object_versions(Bucket=self.bucket, Prefix=f"tenant-{self.tenant}/user-{user}/")
        states = [
            self.s3.head_object(Bucket=self.bucket, Key=each["Key"], VersionId=each["VersionId"]).get(
                "ObjectLockLegalHoldStatus", "OFF"
            )
            for each in page.get("Versions", ())
        ]
        return states.count("ON"), len(states)

    def rules(self) -> dict[str, str]:
        page = self.s3.get_bucket_lifecycle_configuration(Bucket=self.bucket)
        return {rule["ID"]: rule["Status"] for rule in page["Rules"]}

    def expire(self, **prefixes: str) -> None:
        """One rule a prefix, that deletes after 3,000 days."""
        rules = [
            {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": 3000}}
            for name, prefix in prefixes.items()
        ]
        self.s3.put_bucket_lifecycle_configuration(
            Bucket=self.bucket, LifecycleConfiguration={"Rules": rules}
        )

    def retention(self) -> int | None:
        found = self.logs.describe_log_groups(logGroupNamePrefix=self.group)["logGroups"]
        days = {each["logGroupName"]: each.get("retentionInDays") for each in found}
        return days[self.group]  # type: ignore[no-any-return]


@pytest.fixture
def provider(world: World) -> Any:
    customer = world.tenant("ada", "bob", systems=("postgresql", "s3", "cloudwatch"))
    made = Provider(world.stack, customer.id)
    yield made
    made.s3.delete_bucket_lifecycle(Bucket=made.bucket)


def test_objects_are_held_until_the_last_of_two_holds_is_released(world: World, provider: Provider) -> None:
    _, versions = provider.held("ada")
    assert versions > 0
    narrow = _place(world, provider.tenant, "ada")
    assert narrow.preserved["s3"] == versions
    wide = _place(world, provider.tenant)
    assert wide.preserved["s3"] > versions
    assert provider.held("ada") == (versions, versions)
    _release(world, wide)
    assert provider.held("ada") == (versions, versions)
    assert provider.held("bob")[0] == 0
    _release(world, narrow)
    assert provider.held("ada") == (0, versions)


def test_an_erasure_that_a_hold_stopped_ends_once_the_storage_let_go(
    world: World, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = next(each for each in world.passing if each.id == provider.tenant)
    request = world.request(customer, "ada")
    world.approve(request)
    hold = _place(world, customer.id, "ada")
    versions = provider.held("ada")[1]
    assert hold.preserved["s3"] == versions > 0
    assert ErasureRequest.objects.get(pk=request.pk).state == "blocked_by_hold"
    _lift(world, hold)
    housekeeping.resume_unblocked()
    run = actions.live_run(request)
    assert run is not None
    planting.work_until(run, stage=6)
    step = run.steps.get(name="erase", lane="s3")
    advance.advance(step.pk)
    step.refresh_from_db()
    assert step.state == "waiting"
    assert step.error == "s3: the storage is still being told that this data may be deleted again."
    assert world.status(request)["systems"]["s3"]["erased"] == 0
    assert provider.held("ada")[0] == versions

    # As when a hold came and went between two batches of one slice: what met its lock looks again once it is off.
    actions.wake(request)
    with monkeypatch.context() as patched:
        patched.setattr("lifecycle.erasure.freeing.wait", lambda *_: None)
        advance.advance(step.pk)
    assert world.status(request)["systems"]["s3"]["state"] == "locked"
    assert provider.held("ada")[0] == versions

    _work(workflow.let_go(hold))
    assert world.finish(run).state == "done", list(failures(run))
    assert world.status(request)["state"] == "completed"
    assert provider.held("ada")[1] == 0


def test_nothing_expires_by_itself_under_a_hold(world: World, provider: Provider) -> None:
    twin = f"tenant-{provider.tenant}7/"
    provider.expire(
        all="",
        ours=f"tenant-{provider.tenant}/user-ada/old/",
        bobs=f"tenant-{provider.tenant}/user-bob/",
        twins=twin,
    )
    provider.logs.put_retention_policy(logGroupName=provider.group, retentionInDays=30)
    first = _place(world, provider.tenant, "ada")
    second = _place(world, provider.tenant)
    assert first.preserved["s3_lifecycle_rules"] == 2
    assert first.preserved["cloudwatch_retention"] == second.preserved["cloudwatch_retention"] == 1
    stopped = {"all": "Disabled", "ours": "Disabled", "bobs": "Disabled", "twins": "Enabled"}
    assert provider.rules() == stopped
    assert provider.retention() is None
    _release(world, first)
    assert provider.rules() == stopped
    assert provider.retention() is None
    _release(world, second)
    assert set(provider.rules().values()) == {"Enabled"}
    assert provider.retention() == 30


def test_a_rule_that_its_owner_switched_off_stays_off(world: World, provider: Provider) -> None:
    provider.expire(mine=f"tenant-{provider.tenant}/")
    page = provider.s3.get_bucket_lifecycle_configuration(Bucket=provider.bucket)
    page["Rules"][0]["Status"] = "Disabled"
    provider.s3.put_bucket_lifecycle_configuration(
        Bucket=provider.bucket, LifecycleConfiguration={"Rules": page["Rules"]}
    )
    hold = _place(world, provider.tenant)
    assert "s3_lifecycle_rules" not in hold.preserved
    _release(world, hold)
    assert provider.rules() == {"mine": "Disabled"}
