"""A status says why nothing goes on, also where the step that waits belongs to no one system."""

from __future__ import annotations

from lifecycle.models import Step
from tests.lifecycle.erasure.world import World

DOWN = "The database did not answer; try again when it is up."


def test_what_a_step_of_no_system_met_is_the_reason_until_it_is_done(world: World) -> None:
    customer = world.tenant("ada")
    request = world.request(customer, "ada")
    assert world.status(request)["reason"] == "It waits for approval."
    run = world.approve(request)
    before = world.status(request)["reason"]
    assert before != DOWN
    freeze = run.steps.filter(lane="").order_by("stage").first()
    assert freeze is not None

    Step.objects.filter(pk=freeze.pk).update(error=DOWN)
    assert world.status(request)["reason"] == DOWN

    Step.objects.filter(pk=freeze.pk).update(state=Step.State.DONE)
    assert world.status(request)["reason"] == before
