"""A hold stops what it covers and nothing else; what it stopped goes on by itself."""

from __future__ import annotations

from compliance.actions import deciding, holds
from compliance.models import LegalHold
from lifecycle import housekeeping
from lifecycle.engine import runs
from lifecycle.erasure import actions
from lifecycle.models import Run
from lifecycle.preservation import workflow as preservation
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
    _work(preservation.let_go(hold))


def _work(run: Run) -> None:
    """What a worker does beside the erasure: it tells the storage of the hold."""
    assert runs.execute(run, timeout=120).state == "done", list(failures(run))


def test_a_hold_before_the_approval_and_one_in_the_middle_stop_until_two_people_release(world: World) -> None:
    customer = world.tenant("ada", "bob", systems=("postgresql", "s3"))
    request = world.request(customer, "ada")
    hold = _place(world, customer.id, "ada")
    _work(preservation.start(hold))
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
    _work(preservation.let_go(hold))

    run = world.approve(request)
    hold = _place(world, customer.id)
    _work(preservation.start(hold))
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


def test_a_tenant_is_erased_around_its_held_user(world: World) -> None:
    customer = world.tenant("ada", "bob", systems=("postgresql", "s3"))
    _place(world, customer.id, "bob")
    request = world.request(customer)
    assert request.state == "blocked_by_hold"
    deciding.choose_around_hold(request, actor=world.actor("legal"), reason="the rest may go")
    request.refresh_from_db()
    run = world.finish(world.approve(request))
    assert run.state == "done", list(failures(run))
    assert world.status(request)["state"] in ("partially_completed", "completed")
