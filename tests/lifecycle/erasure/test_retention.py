"""What a statute keeps is kept and named; the rest goes, and the request is partially completed."""

from __future__ import annotations

import json

from tests.lifecycle.erasure import reading
from tests.lifecycle.erasure.world import World, failures


def test_invoices_of_a_regulated_tenant_stay_and_are_named(world: World) -> None:
    customer = world.tenant("ada", "bob", kind="regulated")
    request = world.request(customer, "ada")
    run = world.finish(world.approve(request))
    assert run.state == "done", list(failures(run))

    now = world.status(request)
    assert now["state"] == "partially_completed"
    assert now["systems"]["postgresql"]["retained"] == 2
    document = json.loads(bytes(request.certificates.get().document))
    kept = document["retained"]
    assert [(each["category"], each["ground"]) for each in kept] == [("invoices", "b")]
    # Two rows, and the part of the archive that holds them.
    assert kept[0]["count"] == sum(each["retained"] for each in now["systems"].values()) == 3

    left = [
        place
        for system, place, data in reading.rows(world.stack["regions"]["us-east-1"])
        if customer.id.encode() in data and b",ada," in data
    ]
    assert sorted(left) == ["invoices", "invoices"]


def test_a_contract_delays_an_offboarding_only(world: World) -> None:
    customer = world.tenant("ada", kind="contracted")
    offboarding = world.request(customer, None, regime="art28")
    assert offboarding.plan["delayed_until"] is not None
    person = world.tenant("ada", kind="contracted")
    assert world.request(person, "ada").plan["delayed_until"] is None
