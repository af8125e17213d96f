"""One user goes from every system, verified and certified; nobody else changes by a byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from compliance.certificate import bundle, verification
from compliance.errors import Refused
from demo.platform.cast import full_name
from tests.lifecycle.erasure import reading
from tests.lifecycle.erasure.world import World, failures


def test_nobody_of_that_name_is_refused(world: World) -> None:
    customer = world.tenant("ada")
    with pytest.raises(Refused, match="nobody of that name"):
        world.request(customer, "nobody-here")


def test_it_erases_verifies_and_certifies(world: World, tmp_path: Path) -> None:
    customer, twin = world.tenant("ada", "bob", "ada-2"), world.tenant("ada", "bob")
    region = world.stack["regions"]["us-east-1"]
    before = reading.digest(region, tenant=twin.id)

    request = world.request(customer, "ada")
    counted = {name: each["found"] for name, each in request.preview.items()}
    run = world.finish(world.approve(request))

    assert run.state == "done", list(failures(run))
    now = world.status(request)
    assert now["state"] == "completed"
    assert set(now["systems"]) == {
        "postgresql",
        "pinecone",
        "s3",
        "redis",
        "cloudwatch",
        "backups",
        "analytics",
    }
    assert all(each["found"] > 0 for name, each in now["systems"].items() if name != "backups")
    assert {name: each["found"] for name, each in now["systems"].items()} == counted, (
        "our markers were counted"
    )
    for name, each in now["systems"].items():
        assert each["erased"] + each["anonymised"] == each["found"], (name, each)
    assert {each["residue"] for each in now["systems"].values()} == {0}
    assert now["canaries"]["planted"] >= 10
    assert now["canaries"]["remaining"] == 0
    assert now["bystanders"]["unexplained"] == 0
    assert now["bystanders"]["unchanged"] > 0

    gone = [world.mail(customer, "ada"), full_name(customer.id, "ada"), "user-ada/", '"user_id": "ada"']
    assert reading.mentions(region, gone, within=customer.id) == []
    assert reading.mentions(region, [world.mail(customer, "ada-2")], within=customer.id), (
        "a namesake was erased too"
    )
    assert reading.digest(region, tenant=twin.id) == before

    files = bundle.write(request.certificates.get(), tmp_path)
    assert verification.verify(files, trusted=[settings.SIGNING_FINGERPRINT]) == []
