"""A lane that fails stops itself and what needs all lanes; its neighbours go on."""

from lifecycle.engine import runs
from lifecycle.engine.outcomes import Done, Outcome
from lifecycle.engine.workflow import Context
from lifecycle.models import Run
from lifecycle.systems.base import Permanent, Transient
from tests.lifecycle.engine.toy import ENGINEER, Toy, deliver, state, step, verbs

PLAN = (
    ("freeze", 1, ""),
    ("erase", 2, "s3"),
    ("erase", 2, "redis"),
    ("verify", 3, "s3"),
    ("verify", 3, "redis"),
    ("certify", 4, ""),
)


def test_neighbours_go_on_and_the_laneless_waits(toy: Toy) -> None:
    toy.does("erase", Permanent("The bucket is away."), lane="s3")
    run = toy.start(*PLAN)
    deliver()

    assert sorted(toy.slices) == ["erase redis", "erase s3", "freeze", "verify redis"]
    assert step(run, "verify", "redis").state == "done"
    assert step(run, "verify", "s3").state == "waiting"
    assert step(run, "certify").state == "waiting"
    assert state(run) == "failed"
    assert Run.objects.get(pk=run.pk).reason == "Failed: erase (s3). The bucket is away."


def test_retry_of_the_lane_finishes_the_run(toy: Toy) -> None:
    toy.does("erase", Permanent("The bucket is away."), lane="s3")
    run = toy.start(*PLAN)
    deliver()
    toy.slices.clear()

    runs.retry(run, actor=ENGINEER, lane="s3")
    assert (state(run), toy.states) == ("running", ["failed", "running"])
    deliver()

    assert toy.slices == ["erase s3", "verify s3", "certify"]
    assert (state(run), toy.states[-1]) == ("done", "done")
    assert verbs(run).count("step.retried") == 1


def test_a_laneless_failure_stops_all(toy: Toy) -> None:
    toy.does("freeze", Permanent("No."))
    run = toy.start(*PLAN)
    deliver()

    assert toy.slices == ["freeze"]
    assert state(run) == "failed"


def test_a_step_sends_another_back(toy: Toy) -> None:
    """`rerun`: the last step has one lane verified again, and waits for it."""

    def again(context: Context) -> Outcome:
        runs.rerun(context.run, name="verify", lane="s3")
        raise Transient("What the rows lead to changed.")

    toy.does("certify", again)
    run = toy.start(*PLAN)
    deliver()

    assert toy.slices[-3:] == ["certify", "verify s3", "certify"]
    assert state(run) == "done"
    assert step(run, "verify", "s3").result == {"of": "verify"}
    assert verbs(run).count("step.rerun") == 1


def test_two_lanes_that_end_at_once_start_the_next_stage_once(toy: Toy) -> None:
    from threading import Thread

    from django.db import connection

    from lifecycle.engine.advance import advance

    toy.does("erase", lambda _context: Done(), lane="s3")
    run = toy.start(*PLAN)
    advance(step(run, "freeze").pk)

    def work(lane: str) -> None:
        try:
            advance(step(run, "erase", lane).pk)
        finally:
            connection.close()

    workers = [Thread(target=work, args=(lane,)) for lane in ("s3", "redis")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    deliver()

    assert state(run) == "done"
    assert sorted(toy.slices) == sorted(f"{name} {lane}".rstrip() for name, _, lane in PLAN)
