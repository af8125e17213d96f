"""One winner per step, and no write without the token."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from lifecycle.engine import claims, leases, settling
from lifecycle.engine.advance import advance
from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Done
from lifecycle.engine.workflow import named
from lifecycle.models import Step
from lifecycle.systems.base import Permanent
from tests.lifecycle.engine.toy import Toy, deliver, state, step, verbs


def claimed(toy: Toy) -> Context:
    run = toy.start()
    context = claims.claim(step(run).pk)
    assert context is not None
    return context


def test_unknown_step(toy: Toy) -> None:
    assert claims.claim(0) is None


def test_not_before_its_time(toy: Toy) -> None:
    run = toy.start()
    Step.objects.filter(run=run).update(not_before=timezone.now() + timedelta(seconds=30))

    assert claims.claim(step(run).pk) is None
    assert step(run).attempts == 0


def test_not_out_of_turn(toy: Toy) -> None:
    run = toy.start(("first", 1, ""), ("second", 2, ""))

    assert claims.claim(step(run, "second").pk) is None


def test_of_many_at_once_one_wins(toy: Toy) -> None:
    run = toy.start()
    won: list[Context] = []
    ready = threading.Barrier(6)

    def race() -> None:
        ready.wait()
        try:
            if context := claims.claim(step(run).pk):
                won.append(context)
        finally:
            connection.close()

    racers = [threading.Thread(target=race) for _ in range(6)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert len(won) == 1
    assert step(run).lease_token == won[0].lease.token
    assert step(run).attempts == 1


def test_held_until_it_lapses_or_falls_silent(toy: Toy) -> None:
    context = claimed(toy)
    step_id = context.step.pk

    assert claims.claim(step_id) is None
    Step.objects.filter(pk=step_id).update(heartbeat_at=timezone.now() - timedelta(seconds=16))
    second = claims.claim(step_id)

    assert second is not None
    assert second.step.attempts == 2


@pytest.mark.parametrize("write", ["settle", "heartbeat", "progress"])
def test_a_stale_token_writes_nothing(toy: Toy, write: str) -> None:
    stale = claimed(toy)
    Step.objects.filter(pk=stale.step.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    fresh = claims.claim(stale.step.pk)
    assert fresh is not None
    stale._beat = stale._shown = float("-inf")

    with pytest.raises(leases.LeaseLost):
        if write == "settle":
            settling.settle(stale, Done({"by": "stale"}))
        elif write == "heartbeat":
            stale.heartbeat()
        else:
            stale.progress(5, 10, "items")

    now = step(stale.run)
    assert (now.state, now.result, now.done, now.lease_token) == ("running", None, 0, fresh.lease.token)
    settling.settle(fresh, Done({"by": "fresh"}))
    assert step(stale.run).result == {"by": "fresh"}
    assert verbs(stale.run).count("step.done") == 1


def test_a_long_call_keeps_its_lease_and_its_end_ends_the_keeper(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT_EVERY", 0.05)
    context = claimed(toy)
    old = timezone.now() - timedelta(seconds=50)
    Step.objects.filter(pk=context.step.pk).update(heartbeat_at=old)

    with context.lease:
        for _ in range(100):
            if (step(context.run).heartbeat_at or old) > old:
                break
            threading.Event().wait(0.05)

    assert (step(context.run).heartbeat_at or old) > old
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_a_step_that_kills_its_worker_fails_in_the_end(toy: Toy) -> None:
    """Nobody settles: as after a kill, ten times."""
    run = toy.start()
    for _ in range(claims.MOST_CLAIMS):
        assert claims.claim(step(run).pk) is not None
        Step.objects.filter(run=run).update(lease_until=timezone.now() - timedelta(seconds=1))

    assert claims.claim(step(run).pk) is None

    assert state(run) == "failed"
    assert "died 10 times" in step(run).error
    assert toy.states == ["failed"]


def test_a_closed_gate_is_read_in_the_claim(toy: Toy) -> None:
    run = toy.start()
    toy.closed = "Legal hold lh-1 covers the subject."
    deliver()

    assert toy.slices == []
    assert (state(run), step(run).state) == ("blocked", "blocked")
    assert step(run).error == toy.closed
    assert toy.states == ["blocked"]


def test_a_workflow_that_is_gone_fails_with_its_name(toy: Toy) -> None:
    run = toy.start()
    toy.plan = []

    advance(step(run).pk)

    assert state(run) == "failed"
    assert "has no step 'only'" in step(run).error
    with pytest.raises(Permanent):
        named("no such workflow")
