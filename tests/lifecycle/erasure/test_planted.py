"""Data in places that nobody foresaw, before the request and in the middle of it: gone, or the certificate is refused
with the place named."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from compliance.actions import mentions
from compliance.errors import Refused
from compliance.models import AuditEvent, ErasureRequest, Mention
from demo.platform.cast import Customer
from lifecycle.erasure import actions
from tests.lifecycle.erasure import planting, reading
from tests.lifecycle.erasure.world import World, failures

FEW, THOUSANDS = 60, 2_100  # keys that are folders of other keys


@pytest.fixture
def region(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.stack["regions"]["us-east-1"]
    return found


@pytest.fixture
def strangers(region: dict[str, Any]) -> Iterator[str]:
    """A tag for tables, columns, folders, namespaces, groups that no map names; all of them are taken away again."""
    tag = f"stranger{secrets.token_hex(4)}"
    yield tag
    _clear(region, tag)


def _clear(region: dict[str, Any], tag: str) -> None:
    planting.sql(region, f"DROP TABLE IF EXISTS {tag}")
    planting.sql(region, f"ALTER TABLE plans DROP COLUMN IF EXISTS {tag}")
    planting.sql(region, f"ALTER TABLE plans DROP COLUMN IF EXISTS {tag}_email")
    planting.sql(region, "DELETE FROM plans WHERE name = %s", [tag])
    planting.remove_objects(region, f"{tag}-")
    planting.remove_namespace(region, tag)
    client = planting.store(region, 5)
    client.flushdb()
    client.close()
    logs = planting.logs(region)
    for group in logs.describe_log_groups(logGroupNamePrefix=f"/odd/{tag}")["logGroups"]:
        logs.delete_log_group(logGroupName=group["logGroupName"])


def _strange(region: dict[str, Any], tag: str, customer: Customer, mail: str) -> None:
    """The person's mail in a table, column, folder, namespace, database and log group that nobody classified."""
    planting.sql(region, f"CREATE TABLE {tag} (id int PRIMARY KEY, note text)")
    planting.sql(region, f"INSERT INTO {tag} VALUES (1, %s)", [f"call {mail} back"])
    planting.objects(region, {f"{tag}-out/{mail}.csv": b"score\n7\n"})
    planting.vector(region, tag, "v-1", {"tenant_id": customer.id, "user_id": "ada"})
    client = planting.store(region, 5)
    client.set(f"{tag}:note", f"ask {mail}")
    client.close()
    planting.log_line(region, f"/odd/{tag}", json.dumps({"who": mail}))


def test_what_nobody_classified_refuses_a_request_by_its_name(
    world: World, region: dict[str, Any], strangers: str
) -> None:
    customer = world.tenant("ada", "bob")
    mail = world.mail(customer, "ada")
    _strange(region, strangers, customer, mail)
    planting.sql(region, f"ALTER TABLE plans ADD COLUMN {strangers}_email text")

    with pytest.raises(Refused) as refusal:
        world.request(customer, "ada")

    said = " ".join(refusal.value.reasons)
    for name in (
        f"table {strangers}.",
        f"plans.{strangers}_email",
        f"'{strangers}-out/'",
        f"namespace '{strangers}'",
        "Redis database 5",
        f"/odd/{strangers}",
    ):
        assert name in said
    assert mail not in said
    request = ErasureRequest.objects.get(tenant_id=customer.id)
    assert request.state == "received"
    assert reading.mentions(reading.everything(region), [mail], within=customer.id), "something was erased"


def test_a_place_that_bears_the_persons_name_is_named_without_it(
    world: World, region: dict[str, Any], strangers: str
) -> None:
    customer = world.tenant("ada", "bob")
    mail = world.mail(customer, "ada")
    planting.objects(region, {f"{strangers}-{mail}/a.csv": b"7", f"{strangers}- {mail}/b.csv": b"7"})

    with pytest.raises(Refused) as refusal:
        world.request(customer, "ada")

    said = " ".join(refusal.value.reasons)
    assert "'[mail]/'" in said
    assert f"'{strangers}- [subject]/'" in said
    assert mail not in said


@pytest.mark.timeout(600)
@pytest.mark.parametrize("folders", [FEW, pytest.param(THOUSANDS, marks=pytest.mark.chaos)])
def test_planted_before_and_in_the_middle_is_gone_or_named(
    world: World, region: dict[str, Any], strangers: str, folders: int
) -> None:
    customer, twin = world.tenant("ada", "bob"), world.tenant("ada", "bob")
    mail = world.mail(customer, "ada")
    _plant_before(region, customer, mail, folders)
    request = world.request(customer, "ada")
    run = world.approve(request)
    planting.work_until(run, stage=6)
    _plant_between(region, strangers, customer, twin, mail)

    world.finish(run)
    run.refresh_from_db()
    assert run.state == "blocked", list(failures(run))
    assert request.certificates.count() == 0
    _decide(world, request, strangers, customer)
    assert request.certificates.count() == 0

    actions.wake(request)
    world.finish(run)
    run.refresh_from_db()
    assert run.state == "blocked", list(failures(run))
    assert f"/odd/{strangers}" in run.steps.get(name="settle").error
    noted = AuditEvent.objects.get(case_id=request.pk, verb="erasure.unclassified").data["places"]
    assert any(f"table {strangers}." in each for each in noted)
    assert not any(mail in each for each in noted)
    assert request.certificates.count() == 0

    _clear(region, strangers)
    actions.wake(request)
    assert world.finish(run).state == "done", list(failures(run))
    assert world.status(request)["systems"]["s3"]["erased"] >= 2 * folders
    _assert_gone(world, region, request, customer, mail)


def _plant_before(region: dict[str, Any], customer: Customer, mail: str, many: int) -> None:
    own, bobs = f"tenant-{customer.id}/user-ada/", f"tenant-{customer.id}/user-bob/"
    folders: dict[str, bytes] = {}
    for number in range(many // 3):
        folders |= {f"{own}f{number}{deeper}": b"x" for deeper in ("", "/g", "/g/h")}
    planting.objects(region, folders, versions=2)
    planting.objects(region, {f"{bobs}list.txt": f"invite {mail}".encode(), f"{bobs}kept.txt": b"my own"})
    feedback = "INSERT INTO feedback VALUES (%s, 'bob', 3, %s)"
    planting.sql(region, feedback, [customer.id, f"{mail} helped me"])
    coded = base64.b64encode(f"> {mail}".encode()).decode()
    planting.sql(
        region,
        "INSERT INTO audit_logs (tenant_id, actor_id, action, detail) VALUES (%s, 'bob', 'invite', %s)",
        [customer.id, json.dumps({"deep": [{"blob": coded}]})],
    )


def _plant_between(region: dict[str, Any], tag: str, customer: Customer, twin: Customer, mail: str) -> None:
    _strange(region, tag, customer, mail)
    planting.sql(region, f"ALTER TABLE plans ADD COLUMN {tag} jsonb")
    coded = base64.b64encode(mail.encode()).decode()
    planting.sql(
        region,
        f"INSERT INTO plans (name, monthly_cents, {tag}) VALUES (%s, 1, %s)",
        [tag, json.dumps([coded])],
    )
    planting.vector(region, f"tenant-{twin.id}", f"{tag}-v", {"tenant_id": customer.id, "user_id": "ada"})
    planting.objects(region, {f"tenant-{customer.id}/user-ada/late.txt": b"late"}, versions=2)
    message = "INSERT INTO queries (tenant_id, user_id, body) VALUES (%s, 'ada', 'late')"
    planting.sql(region, message, [customer.id])


def _decide(world: World, request: ErasureRequest, tag: str, customer: Customer) -> None:
    """Every place is named to the officer, who keeps what another person wrote and erases the rest."""
    officer = world.actor("officer")
    found = mentions.read(request, actor=officer)
    told = {f"{each['system']} {each['place']} {each['kind']}" for each in found}
    for place in (
        "public.feedback.comment",
        "public.audit_logs.detail",
        f"public.{tag}.note",
        f"public.plans.{tag}",
        "s3 bucket",
        "redis database 5",
        f"/odd/{tag}",
    ):
        assert any(place in each for each in told), (place, told)
    keys = " ".join(each["key"] for each in found)
    assert f"{tag}-out/" in keys
    assert f"tenant-{customer.id}/user-bob/list.txt" in keys
    assert "kept.txt" not in keys
    for each in found:
        theirs = each["place"] == "public.feedback.comment"
        choice = Mention.Choice.NOT_THIS_PERSON if theirs else Mention.Choice.ERASE
        mentions.decide(Mention.objects.get(pk=each["id"]), actor=officer, choice=choice)


def _assert_gone(
    world: World, region: dict[str, Any], request: ErasureRequest, customer: Customer, mail: str
) -> None:
    now = world.status(request)
    assert now["state"] == "completed"
    assert now["bystanders"]["unexplained"] == 0
    assert request.certificates.count() == 1
    found = list(reading.everything(region))
    places = reading.mentions(found, [mail, base64.b64encode(mail.encode()).decode()], within="")
    assert places == ["postgresql: feedback"]
    assert reading.mentions(found, ["user-ada/", '"user_id": "ada"'], within=customer.id) == []
    kept = planting.s3(region).get_object(
        Bucket=region["s3"]["bucket"], Key=f"tenant-{customer.id}/user-bob/kept.txt"
    )
    assert kept["Body"].read() == b"my own"
