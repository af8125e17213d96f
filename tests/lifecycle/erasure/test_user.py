"""One user goes from every system, verified and certified; nobody else changes by a byte."""

from __future__ import annotations

import pytest
from django.conf import settings

from compliance.certificate import verification
from compliance.errors import Refused
from demo.platform.cast import full_name
from tests.lifecycle.erasure import reading
from tests.lifecycle.erasure.world import Finished, World


def test_nobody_of_that_name_is_refused(world: World) -> None:
    customer = world.tenant("ada")
    with pytest.raises(Refused, match="nobody of that name"):
        world.request(customer, "nobody-here")


def test_every_system_says_what_it_found_and_erased(finished: Finished) -> None:
    counted = {name: each["found"] for name, each in finished.request.preview.items()}
    now = finished.status
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


def test_nothing_is_left_and_nobody_else_changed(world: World, finished: Finished) -> None:
    customer, twin, after = finished.customer, finished.twin, finished.after
    gone = [world.mail(customer, "ada"), full_name(customer.id, "ada"), "user-ada/", '"user_id": "ada"']
    assert reading.mentions(after, gone, within=customer.id) == []
    assert reading.mentions(after, [world.mail(customer, "ada-2")], within=customer.id), (
        "a namesake was erased too"
    )
    assert reading.digest(after, tenant=twin.id) == finished.before


def test_its_certificate_is_genuine(finished: Finished) -> None:
    assert verification.verify(finished.files, trusted=[settings.SIGNING_FINGERPRINT]) == []
