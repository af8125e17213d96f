"""What a slice came to, in rows, messages and audit."""

import traceback
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone
from django_q.models import OrmQ

from lifecycle import tasks
from lifecycle.engine import leases, settling
from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Blocked, Done, More, Outcome, Wait
from lifecycle.engine.progress import describe
from lifecycle.models import Run
from lifecycle.systems.base import Permanent, Transient
from lifecycle.tasks import TaskFailed
from tests.lifecycle.engine.toy import Toy, deliver, state, step, verbs


def test_done_at_once(toy: Toy) -> None:
    run = toy.start()
    assert deliver() == 1

    assert (state(run), step(run).state, step(run).result) == ("done", "done", {"of": "only"})
    assert toy.states == ["done"]
    assert verbs(run) == ["run.started", "step.started", "step.done", "run.done"]
    assert step(run).lease_token is None


def test_more_goes_on_at_its_cursor(toy: Toy) -> None:
    seen: list[Any] = []

    def slice_(context: Context) -> Outcome:
        seen.append(context.cursor)
        at = (context.cursor or 0) + 1
        return More(at, done=at, total=3, unit="items") if at < 3 else Done({"last": at})

    toy.does("only", slice_, slice_, slice_)
    run = toy.start()
    deliver()

    assert seen == [None, 1, 2]
    assert step(run).result == {"last": 3}
    assert (step(run).attempts, step(run).total_attempts) == (0, 3)
    assert verbs(run) == ["run.started", "step.started", "step.done", "run.done"]


def test_a_position_is_sealed_in_the_database_and_gone_once_the_step_is_done(toy: Toy) -> None:
    stored: list[str] = []

    def look(context: Context) -> Outcome:
        with connection.cursor() as cursor:
            cursor.execute("SELECT cursor::text FROM lifecycle_step WHERE id = %s", [context.step.pk])
            stored.append(cursor.fetchone()[0])
        return Done({"at": context.cursor})

    toy.does("only", More({"after": "user-ada/letter"}), look)
    run = toy.start()
    deliver()

    assert "ada" not in stored[0] and "sealed" in stored[0]
    assert step(run).result == {"at": {"after": "user-ada/letter"}}
    assert step(run).cursor is None


def test_wait_until(toy: Toy) -> None:
    toy.does("only", Wait(timezone.now() + timedelta(hours=1), "Items are locked.", cursor={"at": 4}))
    run = toy.start()
    deliver()

    now = step(run)
    assert (now.state, now.error, now.cursor, state(run)) == (
        "waiting",
        "Items are locked.",
        {"at": 4},
        "running",
    )
    assert OrmQ.objects.get().lock == now.not_before


def test_blocked_blocks_the_run(toy: Toy) -> None:
    toy.does("only", Blocked("Three mentions wait for an officer."))
    run = toy.start()
    deliver()

    assert (state(run), step(run).state) == ("blocked", "blocked")
    assert Run.objects.get(pk=run.pk).reason == "Three mentions wait for an officer."
    assert verbs(run)[-2:] == ["step.blocked", "run.blocked"]


def test_transient_three_retries_then_failed(toy: Toy) -> None:
    toy.does("only", *[Transient("The server does not answer.") for _ in range(9)])
    run = toy.start()
    deliver()

    assert toy.slices == ["only"] * 4
    assert (state(run), step(run).state, step(run).failures) == ("failed", "failed", 4)
    assert verbs(run).count("step.retrying") == 3
    assert Run.objects.get(pk=run.pk).reason == "Failed: only. The server does not answer."


def test_a_backoff_is_waited_out(toy: Toy, settings: Any) -> None:
    settings.STEP_BACKOFF = [20.0, 60.0, 120.0]
    toy.does("only", Transient("Away."))
    run = toy.start()
    before = timezone.now()
    deliver()

    wait = (step(run).not_before - before).total_seconds()
    assert 20 <= wait <= 26
    assert OrmQ.objects.get().lock == step(run).not_before


def test_progress_between_failures_counts_anew(toy: Toy) -> None:
    def moved(context: Context) -> Outcome:
        context.cursor = (context.cursor or 0) + 1
        raise Transient("Away for a moment.")

    toy.does("only", *[moved] * 6, lambda context: Done({"at": context.cursor}))
    run = toy.start()
    deliver()

    assert state(run) == "done"
    assert step(run).result == {"at": 6}


def test_permanent_fails_at_once(toy: Toy) -> None:
    toy.does("only", Permanent("The bucket does not exist."))
    run = toy.start()
    deliver()

    assert toy.slices == ["only"]
    assert (state(run), step(run).error) == ("failed", "The bucket does not exist.")
    assert verbs(run)[-2:] == ["step.failed", "run.failed"]


def test_an_unforeseen_error_is_retried_and_its_text_is_kept_nowhere(
    toy: Toy, caplog: pytest.LogCaptureFixture
) -> None:
    toy.does("only", *[ValueError("Mrs Jane Secret")] * 9)
    run = toy.start()
    deliver()

    assert state(run) == "failed"
    assert step(run).error.startswith("Unexpected ValueError in _slice (toy.py, line ")
    assert "unexpected ValueError in" in caplog.text
    assert "Secret" not in caplog.text + step(run).error


def test_result_message_and_state_are_one_transaction(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit refuses: nothing of the slice's end is there, and a later try writes all of it."""
    run = toy.start(("first", 1, ""), ("second", 2, ""))

    def refuse(*_: Any, **__: Any) -> None:
        raise DatabaseError("away")

    with monkeypatch.context() as broken:
        broken.setattr("lifecycle.engine.turns.audit.record", refuse)
        broken.setattr("lifecycle.engine.advance.TRIES", 1)
        with pytest.raises(TaskFailed, match="DatabaseError in"):
            deliver()
    assert (step(run, "first").state, step(run, "first").attempts) == ("waiting", 0)

    deliver()
    assert state(run) == "done"


def test_a_lost_lease_leaves_no_message(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(context: Context) -> Outcome:
        context.lease.rows().update(lease_token=leases.new_token())
        return More(1)

    toy.does("only", lose)
    run = toy.start()
    deliver()

    assert OrmQ.objects.count() == 0
    assert (step(run).state, step(run).cursor) == ("running", None)


def test_results_and_progress_can_be_read(toy: Toy) -> None:
    def work(context: Context) -> Outcome:
        assert context.result_of("first") == {"of": "first"}
        assert context.result_of("second") == {}
        context._shown = float("-inf")
        context.cursor = "here"
        context.progress(30, 120, "rows")
        shown = describe(context.run)["steps"][1]
        assert (shown["done"], shown["total"], shown["unit"]) == (30, 120, "rows")
        assert shown["rate"] > 0
        assert shown["eta_seconds"] == pytest.approx(
            90 / 30 * step(context.run, "second").busy_seconds, abs=0.1
        )
        assert step(context.run, "second").cursor == "here"
        return Done()

    toy.does("second", work)
    run = toy.start(("first", 1, ""), ("second", 2, ""))
    deliver()

    assert step(run, "second").error == ""
    assert state(run) == "done"
    assert (step(run, "second").done, step(run, "second").total) == (30, 120)


def test_settling_needs_the_lease(toy: Toy) -> None:
    """The fence is the row count, so an ended step can't be ended again."""
    context: list[Context] = []
    toy.does("only", lambda each: context.append(each) or Done({"n": 1}))  # type: ignore[func-returns-value]
    run = toy.start()
    deliver()

    with pytest.raises(leases.LeaseLost):
        settling.settle(context[0], Done({"n": 2}))
    assert step(run).result == {"n": 1}


def test_what_a_task_may_say_of_its_error(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """django-q2 keeps texts of errors in its table: ours has neither the text nor what caused it."""

    def fails(_step_id: int) -> str:
        raise ValueError("Mrs Jane Secret")

    monkeypatch.setattr("lifecycle.tasks.advance_step", fails)
    with pytest.raises(TaskFailed) as failed:
        tasks.advance(1)

    assert "ValueError in" in str(failed.value)
    assert "Secret" not in "".join(traceback.format_exception(failed.value))
