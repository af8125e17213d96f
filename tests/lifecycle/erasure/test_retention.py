"""What a statute or a held category keeps is kept and named; the rest goes, and the request is partially completed."""

from __future__ import annotations

import json

from compliance.actions import holds
from tests.lifecycle.erasure import reading
from tests.lifecycle.erasure.world import World, failures


def test_invoices_and_a_held_category_stay_and_are_named(world: World) -> None:
    customer = world.tenant("ada", "bob", kind="regulated", systems=("postgresql", "backups"))
    holds.place(
        actor=world.actor("legal"), tenant_id=customer.id, user="ada", category="messages",
        case_reference="C-1", type="litigation",
    )  # fmt: skip
    request = world.request(customer, "ada")
    assert request.state == "awaiting_approval"
    run = world.finish(world.approve(request))
    assert run.state == "done", list(failures(run))

    now = world.status(request)
    assert now["state"] == "partially_completed"
    document = json.loads(bytes(request.certificates.get().document))
    kept = {each["category"]: each for each in document["retained"]}
    assert {name: each["ground"] for name, each in kept.items()} == {"invoices": "b", "messages": "e"}
    # Of the invoices two rows, and the part of the archive that holds them.
    assert kept["invoices"]["count"] == 3
    assert kept["messages"]["count"] > 0
    assert sum(each["count"] for each in kept.values()) == sum(
        each["retained"] for each in now["systems"].values()
    )

    left = [
        place
        for system, place, data in reading.rows(world.stack["regions"]["us-east-1"])
        if customer.id.encode() in data and b",ada," in data
    ]
    assert left.count("invoices") == 2
    assert set(left) == {"invoices", "messages", "conversations"}


def test_a_contract_delays_an_offboarding_only(world: World) -> None:
    customer = world.tenant("ada", kind="contracted")
    offboarding = world.request(customer, None, regime="art28")
    assert offboarding.plan["delayed_until"] is not None
    person = world.tenant("ada", kind="contracted")
    assert world.request(person, "ada").plan["delayed_until"] is None
