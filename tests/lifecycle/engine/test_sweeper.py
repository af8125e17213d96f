"""What a dead worker held, and messages that were lost, come back by themselves."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ, Schedule

from lifecycle import tasks
from lifecycle.engine import claims, leases, queue, schedules, sweeper
from lifecycle.models import Heartbeat, Step
from tests.lifecycle.engine.toy import Toy, deliver, state, step


def test_a_live_lease_and_a_fresh_message_are_left_alone(toy: Toy) -> None:
    held, queued = toy.start(), toy.start()
    OrmQ.objects.all().delete()
    assert claims.claim(step(held).pk) is not None

    assert sweeper.sweep() == 0

    assert OrmQ.objects.count() == 0
    assert step(held).lease_token is not None
    assert step(queued).state == "waiting"


@pytest.mark.parametrize("late", [{"lease_until": 1}, {"heartbeat_at": 16}])
def test_a_dead_workers_step_is_queued_once(toy: Toy, late: dict[str, int]) -> None:
    run = toy.start()
    OrmQ.objects.all().delete()
    assert claims.claim(step(run).pk) is not None
    [(field, seconds)] = late.items()
    Step.objects.filter(run=run).update(**{field: timezone.now() - timedelta(seconds=seconds)})

    assert [sweeper.sweep(), sweeper.sweep()] == [1, 0]
    assert OrmQ.objects.count() == 1
    deliver()

    assert state(run) == "done"


def test_a_lost_message_is_sent_again_and_a_waiting_one_is_not(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, waits = toy.start(), toy.start()
    OrmQ.objects.order_by("pk").first().delete()  # as a worker that died before its claim
    old = timezone.now() - timedelta(seconds=6)
    Step.objects.update(enqueued_at=old, not_before=old)

    with monkeypatch.context() as backlog:
        backlog.setattr(queue, "MOST_LOOKED_AT", 0)
        assert sweeper.sweep() == 0
    assert [sweeper.sweep(), sweeper.sweep()] == [1, 0]
    assert OrmQ.objects.count() == 2
    deliver()

    assert (state(lost), state(waits)) == ("done", "done")


def test_in_a_backlog_two_minutes_count(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    run = toy.start()
    monkeypatch.setattr(queue, "MOST_LOOKED_AT", 0)
    old = timezone.now() - timedelta(seconds=121)
    Step.objects.filter(run=run).update(enqueued_at=old, not_before=old)

    assert sweeper.sweep() == 1


def test_what_a_known_dead_process_held_is_free_at_once(toy: Toy) -> None:
    mine, other = toy.start(), toy.start()
    OrmQ.objects.all().delete()
    tag = leases._tag
    assert claims.claim(step(mine).pk) is not None
    try:
        leases.wear(leases.new_tag())
        assert claims.claim(step(other).pk) is not None
    finally:
        leases.wear(tag)

    assert sweeper.release(tag) == 1

    assert step(mine).lease_token is None
    assert step(other).lease_token is not None
    deliver()
    assert (state(mine), state(other)) == ("done", "running")


def test_chores_do_not_stop_each_other(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def fails() -> None:
        raise ValueError("Mrs Jane Secret")

    monkeypatch.setattr(sweeper, "_chores", {})
    sweeper.register_chore("fails", fails)
    sweeper.register_chore("works", lambda: done.append("works"))

    assert tasks.sweep() == "0 freed, failed: fails"

    assert done == ["works"]
    assert "Secret" not in caplog.text
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)


def test_schedules_are_made_once_and_the_canary_is_read(toy: Toy) -> None:
    schedules.ensure_schedules()
    Schedule.objects.filter(name="sweep").update(minutes=99)
    schedules.ensure_schedules()

    assert sorted(Schedule.objects.values_list("name", "func", "minutes", "cluster")) == [
        ("heartbeat default", "lifecycle.tasks.heartbeat", 1, "default"),
        ("heartbeat long", "lifecycle.tasks.heartbeat", 1, "long"),
        ("sweep", "lifecycle.tasks.sweep", 1, None),
    ]
    assert "No worker has ever answered on queue long" in schedules.silent_queues()[1]
    tasks.heartbeat("default")
    tasks.heartbeat("long")
    assert schedules.silent_queues() == []
    Heartbeat.objects.filter(queue="long").update(at=timezone.now() - timedelta(seconds=181))
    assert schedules.silent_queues()[0].startswith("Queue long has been silent for 181 s.")
