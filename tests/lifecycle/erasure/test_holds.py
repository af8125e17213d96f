"""A hold stops what it covers and nothing else; what it stopped goes on by itself."""

from __future__ import annotations

from compliance.actions import deciding, holds
from compliance.models import LegalHold
from lifecycle import housekeeping
from lifecycle.erasure import actions
from tests.lifecycle.erasure.world import World, failures


def _place(world: World, tenant: str, user: str | None = None, category: str = "") -> LegalHold:
    return holds.place(
        actor=world.actor("legal"),
        tenant_id=tenant,
        user=user,
        category=category,
        case_reference="C-1",
        type="litigation",
    )


def _release(world: World, hold: LegalHold) -> None:
    holds.release(hold, actor=world.actor("legal"), reason="settled")
    holds.release(hold, actor=world.actor("legal2"), reason="settled")


def test_a_held_user_is_not_touched_until_two_people_release(world: World) -> None:
    customer = world.tenant("ada", "bob")
    request = world.request(customer, "ada")
    hold = _place(world, customer.id, "ada")
    request.refresh_from_db()
    assert request.state == "blocked_by_hold"
    holds.release(hold, actor=world.actor("legal"), reason="settled")
    housekeeping.resume_unblocked()
    request.refresh_from_db()
    assert request.state == "blocked_by_hold"

    holds.release(hold, actor=world.actor("legal2"), reason="settled")
    housekeeping.resume_unblocked()
    request.refresh_from_db()
    assert request.state == "awaiting_approval"
    assert world.finish(world.approve(request)).state == "done"


def test_a_hold_in_the_middle_stops_and_release_resumes(world: World) -> None:
    customer = world.tenant("ada", "bob")
    request = world.request(customer, "ada")
    run = world.approve(request)
    hold = _place(world, customer.id)
    blocked = world.finish(run)
    assert blocked.state == "blocked", list(failures(run))
    now = world.status(request)
    assert now["state"] == "blocked_by_hold"
    assert all(each["erased"] == 0 for each in now["systems"].values())

    _release(world, hold)
    housekeeping.resume_unblocked()
    again = actions.live_run(request)
    assert again is not None
    assert world.finish(again).state == "done", list(failures(again))
    assert world.status(request)["state"] == "completed"


def test_a_held_category_stays_and_the_rest_goes(world: World) -> None:
    customer = world.tenant("ada", "bob")
    _place(world, customer.id, "ada", "messages")
    request = world.request(customer, "ada")
    assert request.state == "awaiting_approval"
    run = world.finish(world.approve(request))
    assert run.state == "done", list(failures(run))
    now = world.status(request)
    assert now["state"] == "partially_completed"
    assert now["systems"]["postgresql"]["retained"] > 0


def test_a_tenant_is_erased_around_its_held_user(world: World) -> None:
    customer = world.tenant("ada", "bob")
    _place(world, customer.id, "bob")
    request = world.request(customer)
    assert request.state == "blocked_by_hold"
    deciding.choose_around_hold(request, actor=world.actor("legal"), reason="the rest may go")
    request.refresh_from_db()
    run = world.finish(world.approve(request))
    assert run.state == "done", list(failures(run))
    assert world.status(request)["state"] in ("partially_completed", "completed")
