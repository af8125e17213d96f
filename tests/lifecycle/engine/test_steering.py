"""Pause, resume, cancel with undo, retry: refusals first."""

import contextlib
from datetime import timedelta

import pytest
from django.utils import timezone

from compliance.actors import SYSTEM
from compliance.errors import Refused
from lifecycle.engine import claims, runs, settling, sweeper
from lifecycle.engine.advance import advance
from lifecycle.engine.context import Stopped
from lifecycle.engine.outcomes import Blocked, Done, More, Outcome, Wait
from lifecycle.engine.workflow import Context, Workflow, register
from lifecycle.models import Run, Step, Undo
from lifecycle.systems.base import Permanent, Transient
from tests.lifecycle.engine.toy import AUDITOR, ENGINEER, Toy, deliver, state, step, verbs


@pytest.mark.parametrize("verb", [runs.pause, runs.resume, runs.cancel, runs.retry])
def test_an_auditor_changes_nothing(toy: Toy, verb: object) -> None:
    run = toy.start()
    before = verbs(run)

    with pytest.raises(Refused, match="none of the roles"):
        verb(run, actor=AUDITOR)  # type: ignore[operator]

    assert (state(run), verbs(run)) == ("running", before)


def test_an_ended_run_can_not_be_steered(toy: Toy) -> None:
    run = toy.start()
    deliver()

    for verb, text in (
        (runs.pause, "nothing to pause"),
        (runs.resume, "only a paused"),
        (runs.cancel, "nothing to cancel"),
    ):
        with pytest.raises(Refused, match=text):
            verb(run, actor=ENGINEER)
    with pytest.raises(Refused, match="No step of the run has failed"):
        runs.retry(run, actor=ENGINEER)
    assert state(run) == "done"


def test_one_live_run_per_subject(toy: Toy) -> None:
    run = toy.start()

    again = runs.start("toy", run.subject, tenant_id="t1", actor=ENGINEER)

    assert again.pk == run.pk
    assert Run.objects.count() == 1
    deliver()
    assert runs.start("toy", run.subject, tenant_id="t1", actor=ENGINEER).pk != run.pk


def test_pause_waits_for_the_slice_then_resume_goes_on(toy: Toy) -> None:
    def paused_meanwhile(context: Context) -> Outcome:
        runs.pause(context.run, actor=ENGINEER)
        assert state(context.run) == "running"  # somebody still works
        with pytest.raises(Stopped):
            context.check()
        return More(1)

    toy.does("only", paused_meanwhile)
    run = toy.start()
    deliver()
    assert (state(run), step(run).state, step(run).cursor) == ("paused", "running", 1)
    assert claims.claim(step(run).pk) is None
    assert runs.wake(run).state == "paused"

    runs.resume(run, actor=ENGINEER)
    deliver()

    assert state(run) == "done"
    assert toy.states == ["paused", "running", "done"]
    assert {"run.pause_requested", "run.paused", "run.resumed"} <= set(verbs(run))


def test_a_gate_that_closes_in_the_middle_keeps_the_cursor(toy: Toy) -> None:
    def stopped(context: Context) -> Outcome:
        context.cursor = {"at": 7}
        toy.closed = "Legal hold lh-1 covers the subject."
        context.check()
        raise AssertionError("the gate was not asked")

    toy.does("only", stopped)
    run = toy.start()
    deliver()
    assert (state(run), step(run).cursor) == ("blocked", {"at": 7})

    toy.closed = None
    runs.resume(run, actor=ENGINEER)
    deliver()
    assert (state(run), step(run).error) == ("done", "")


def test_wake_looks_at_what_waits_or_is_blocked(toy: Toy) -> None:
    later = timezone.now() + timedelta(days=1)
    toy.does("only", Wait(later, "Locked."), Blocked("A mention waits."))
    run = toy.start()
    deliver()
    runs.wake(run)
    deliver()
    assert state(run) == "blocked"
    runs.wake(run)
    deliver()

    assert state(run) == "done"
    assert toy.slices == ["only"] * 3


def test_cancel_undoes_in_reverse_once_nobody_works(toy: Toy) -> None:
    def makes_two(context: Context) -> Outcome:
        for what in ("first", "second", "second"):  # a repeated slice notes nothing twice
            context.undo("toy.undo", what=what)
        runs.cancel(context.run, actor=ENGINEER, reason="Withdrawn.")
        sweeper.sweep()
        deliver()
        assert toy.undone == []  # nothing is undone while this slice works
        return More(1)

    toy.does("only", makes_two)
    toy.undo_errors = [Transient("Away."), Transient("Away.")]
    run = toy.start(("only", 1, ""), ("next", 2, ""))
    deliver()

    assert toy.undone == ["second", "first"]
    assert (state(run), step(run).state, step(run, "next").state) == ("cancelled", "cancelled", "cancelled")
    assert Undo.objects.filter(run=run, undone_at=None).count() == 0
    assert toy.states == ["cancelled"]
    assert verbs(run)[-1] == "run.cancelled"


def test_an_undo_that_fails_is_named_and_can_be_retried(toy: Toy) -> None:
    toy.does("only", lambda context: More(context.undo("toy.undo", what="canary").pk))
    run = toy.start()
    claims_step = step(run).pk
    context = claims.claim(claims_step)
    assert context is not None
    context.undo("toy.undo", what="canary")
    settling.settle(context, More(1))
    toy.undo_errors = [Permanent("The bucket is gone.")]
    runs.cancel(run, actor=ENGINEER)
    deliver()
    assert state(run) == "failed"
    assert Run.objects.get(pk=run.pk).reason == "Undoing failed: The bucket is gone."
    with pytest.raises(Refused, match="still being undone"):
        runs.start("toy", run.subject, tenant_id="t1", actor=ENGINEER)

    runs.retry(run, actor=ENGINEER)
    deliver()

    assert (state(run), toy.undone) == ("cancelled", ["canary"])


def test_cancel_of_a_run_with_nothing_made(toy: Toy) -> None:
    run = toy.start()
    assert runs.cancel(run, actor=ENGINEER).state == "cancelled"
    deliver()

    assert toy.slices == []


def test_cancel_while_the_worker_is_dead(toy: Toy) -> None:
    run = toy.start()
    assert claims.claim(step(run).pk) is not None
    runs.cancel(run, actor=ENGINEER)
    assert state(run) == "running"
    Step.objects.filter(run=run).update(heartbeat_at=timezone.now() - timedelta(seconds=20))

    sweeper.sweep()

    assert (state(run), step(run).state) == ("cancelled", "cancelled")


def test_a_failed_run_can_be_cancelled(toy: Toy) -> None:
    def fails(context: Context) -> Outcome:
        context.undo("toy.undo", what="freeze")
        raise Permanent("No.")

    toy.does("only", fails)
    run = toy.start()
    deliver()
    runs.cancel(run, actor=ENGINEER)
    deliver()

    assert (state(run), toy.undone) == ("cancelled", ["freeze"])


def test_execute_works_a_run_to_its_end_here(toy: Toy) -> None:
    soon = timezone.now() + timedelta(seconds=0.3)
    toy.does("second", Wait(soon, "In a moment."), Transient("Away."), Done())
    run = toy.start(("first", 1, ""), ("second", 2, ""))

    assert runs.execute(run, timeout=20).state == "done"
    with pytest.raises(TimeoutError, match="after 0 s"):
        toy.does("only", Wait(timezone.now() + timedelta(hours=1), "Locked."))
        runs.execute(toy.start(("only", 1, "")), timeout=0)


def test_the_program_leaves_a_persons_pause_alone(toy: Toy) -> None:
    toy.closed = "Legal hold lh-1 covers the subject."
    run = toy.start()
    deliver()
    runs.pause(run, actor=ENGINEER)
    toy.closed = None

    assert runs.resume(run, actor=SYSTEM).state == "paused"
    deliver()
    assert toy.slices == []
    runs.resume(run, actor=ENGINEER)
    deliver()
    assert state(run) == "done"


def test_a_message_out_of_turn_is_made_up_for(toy: Toy) -> None:
    """The neighbour is sent back after this one's message went out: it gets another in its turn."""
    run = toy.start(("erase", 1, "s3"), ("certify", 2, ""))
    advance(step(run, "erase", "s3").pk)
    runs.rerun(run, name="erase", lane="s3")
    assert advance(step(run, "certify").pk) == "not claimed"
    deliver()

    assert state(run) == "done"
    assert toy.slices == ["erase s3", "erase s3", "certify"]


def test_a_hook_that_fails_undoes_the_turn_and_in_the_end_is_only_noted(toy: Toy) -> None:
    run = toy.start()

    def fails(_run: Run) -> None:
        raise Refused("The request can't follow.")

    register(Workflow("toy", toy._steps, on_state=fails))
    with pytest.raises(Refused):
        advance(step(run).pk)
    assert (state(run), step(run).state) == ("running", "running")

    for _ in range(claims.MOST_CLAIMS):
        Step.objects.filter(run=run).update(lease_until=timezone.now() - timedelta(seconds=1))
        with contextlib.suppress(Refused):
            advance(step(run).pk)

    assert (state(run), step(run).state) == ("failed", "failed")
    assert verbs(run)[-1] == "run.failed"
    assert "run.hook_failed" in verbs(run)
