"""The fence: what a hold waits for, what a batch refuses, and what each does when the other's session vanishes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from compliance import fence, pseudonyms
from compliance.actions import executing, holds
from compliance.actors import SYSTEM, Actor
from compliance.models import AuditEvent, FenceBatch, LegalHold
from tests.compliance import building
from tests.compliance.conftest import raw, until

pytestmark = pytest.mark.django_db(transaction=True)

ANN, BOB = "u-ann", "u-bob"


@pytest.fixture
def legal(transactional_db: None) -> Iterator[Actor]:
    for name in ("acme", "other"):
        building.tenant(name)
    yield building.people()["legal"]
    fence.disconnect()


def place(legal: Actor, user: str | None = ANN, category: str = "", tenant_id: str = "acme") -> LegalHold:
    return holds.place(
        actor=legal,
        tenant_id=tenant_id,
        user=user,
        category=category,
        case_reference="C-1",
        type="litigation",
    )


@contextmanager
def batch(user: str | None = ANN, category: str = "content", **facts: Any) -> Iterator[fence.OpenBatch]:
    subject = pseudonyms.of_user("acme", user) if user else ""
    given = {
        "tenant_id": "acme",
        "subject_pseudonym": subject,
        "category": category,
        "system": "s3",
        "case_id": "er-x",
        **facts,
    }
    with fence.batch(**given) as opened:
        yield opened


class Beside:
    """Work in a thread of its own, with its own sessions, as another process would do it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.result: Any = None
        self.failure: BaseException | None = None
        self.ended_at: float | None = None
        self._thread = threading.Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            self.result = work()
        except BaseException as failure:
            self.failure = failure
        finally:
            self.ended_at = time.monotonic()
            fence.disconnect()
            connection.close()

    def join(self, seconds: float = 15.0) -> Beside:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "It hangs."
        return self


class StretchedBatch(Beside):
    """A batch that works for `stretch` seconds; `sent` are the moments at which it still destroyed something."""

    def __init__(self, stretch: float, *, fails: bool = False, **facts: Any) -> None:
        self.opened = threading.Event()
        self.sent: list[float] = []
        self.stretch, self.fails, self.facts = stretch, fails, facts
        super().__init__(self._work)
        assert self.opened.wait(5)

    def _work(self) -> None:
        with batch(**self.facts) as gate:
            end = time.monotonic() + self.stretch
            self.opened.set()
            while time.monotonic() < end:
                gate.check()
                self.sent.append(time.monotonic())
                time.sleep(0.02)
            if self.fails:
                raise ConnectionError("The server went away.")


def test_a_held_batch_never_starts(legal: Actor) -> None:
    hold = place(legal)
    for user, category in ((ANN, "content"), (ANN, ""), (None, "content"), (None, "")):
        with pytest.raises(fence.HoldInForce) as stop, batch(user, category):
            pytest.fail("It started.")
        assert stop.value.holds == [hold.pk]
    assert not FenceBatch.objects.filter(closed_at=None).exists()
    event = AuditEvent.objects.filter(verb="hold.blocked_attempt").order_by("-seq")[0]
    assert (event.case_id, event.data["holds"]) == ("er-x", [hold.pk])


def test_a_hold_is_as_narrow_as_written(legal: Actor) -> None:
    place(legal, ANN)
    place(legal, None, "invoices")
    for user, category in ((BOB, "content"), (BOB, "usage")):
        with batch(user, category) as gate:
            gate.check()
    with pytest.raises(fence.HoldInForce), batch(BOB, "invoices"):
        pass
    with pytest.raises(fence.HoldInForce), batch(BOB, ""):
        pass
    with batch(BOB, "", held_categories={"invoices"}) as gate:
        gate.check()
    spared = {pseudonyms.of_user("acme", ANN)}
    with batch(None, "", held_categories={"invoices"}, spared_users=spared) as gate:
        gate.check()
    with batch(ANN, "content", tenant_id="other") as gate:
        gate.check()
    place(legal, BOB)
    with pytest.raises(fence.HoldInForce), batch(None, "", held_categories={"invoices"}, spared_users=spared):
        pass


def test_place_returns_only_after_an_open_batch_closed(legal: Actor) -> None:
    stretched = StretchedBatch(4.0, seconds=2.0)
    began = time.monotonic()
    hold = place(legal)
    returned = time.monotonic()
    assert returned - began < 10
    stretched.join()
    # The batch learnt of the hold at its next send and sent nothing more.
    assert isinstance(stretched.failure, fence.HoldInForce)
    assert max(stretched.sent) < began + 1 < returned
    assert hold.state in LegalHold.BLOCKING


def test_place_waits_for_a_batch_that_never_asks(legal: Actor) -> None:
    closed: list[float] = []

    def work() -> None:
        with batch():
            opened.set()
            time.sleep(2.0)  # one long send
            closed.append(time.monotonic())

    opened = threading.Event()
    beside = Beside(work)
    assert opened.wait(5)
    place(legal)
    assert closed and closed[0] < time.monotonic()
    beside.join()
    assert beside.failure is None


def test_an_error_leaves_the_row_open_until_its_deadline(legal: Actor) -> None:
    StretchedBatch(0.1, fails=True, seconds=3.0).join()
    row = FenceBatch.objects.get()
    assert (row.closed_at, row.outcome) == (None, "error")
    place(legal)
    placed = LegalHold.objects.get().placed_at
    with raw() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now = cursor.fetchone()[0]  # type: ignore[index]
    assert placed < row.deadline <= now
    row.refresh_from_db()
    assert row.closed_at is None


def test_place_waits_by_the_row_when_the_lock_session_is_ended(legal: Actor) -> None:
    stretched = StretchedBatch(4.0, seconds=2.5)
    row = FenceBatch.objects.get()
    with raw() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'lifecycle-fence' "
            "AND datname = current_database()"
        )
        assert cursor.fetchone()[0] >= 1  # type: ignore[index]
    ended = time.monotonic()
    began = time.monotonic()
    place(legal)
    assert 1.0 < time.monotonic() - began < 10.0
    with raw() as cursor:
        cursor.execute("SELECT clock_timestamp() > %s", [row.deadline])
        assert cursor.fetchone() == (True,)
    stretched.join()
    assert isinstance(stretched.failure, fence.PastDeadline)
    assert max(stretched.sent) < ended + 0.5


def test_a_worker_that_stops_inside_a_batch_sends_nothing_afterwards(legal: Actor) -> None:
    """A worker stopped with its lock held: place gives up on the lock, and waits for the deadline."""
    wake = threading.Event()
    sent_late: list[float] = []

    def work() -> None:
        with batch(seconds=1.5) as gate:
            opened.set()
            wake.wait(20)
            gate.check()
            sent_late.append(time.monotonic())

    opened = threading.Event()
    stopped = Beside(work)
    assert opened.wait(5)
    began = time.monotonic()
    place(legal)
    assert 1.0 < time.monotonic() - began < 10.0
    wake.set()
    stopped.join()
    assert isinstance(stopped.failure, fence.PastDeadline)
    assert sent_late == []


def test_without_the_fence_the_same_trial_finds_a_violation(legal: Actor, settings: Any) -> None:
    settings.FENCE_ENABLED = False
    stretched = StretchedBatch(1.0)
    place(legal)
    returned = time.monotonic()
    stretched.join()
    assert stretched.failure is None
    assert any(moment > returned for moment in stretched.sent)


def test_a_batch_of_another_scope_is_not_waited_for(legal: Actor) -> None:
    stretched = StretchedBatch(3.0, user=BOB)
    began = time.monotonic()
    place(legal, ANN)
    assert time.monotonic() - began < 2.5
    stretched.join()
    assert stretched.failure is None


def test_a_batch_ends_at_five_seconds_and_needs_no_transaction(legal: Actor) -> None:
    with batch(seconds=60.0) as gate:
        assert 4.0 < gate.remaining() <= 5.0
        row = FenceBatch.objects.get()
        assert row.deadline == gate.deadline
    with pytest.raises(fence.PastDeadline), batch(seconds=0.2) as gate:
        until(lambda: gate.remaining() == 0)
        gate.check()
    with transaction.atomic(), pytest.raises(RuntimeError, match="outside any transaction"), batch():
        pass
    FenceBatch.objects.update(
        opened_at=row.opened_at.replace(year=2000), deadline=row.deadline.replace(year=2000)
    )
    assert fence.tidy() == 2


def test_a_hold_names_what_was_sent_before_and_never_answered(legal: Actor) -> None:
    """A server that was stopped in the middle of a deletion may end it when it wakes: the hold says so."""
    with suppress(ConnectionError), batch(seconds=0.3):
        raise ConnectionError("No answer.")
    with suppress(ConnectionError), batch(BOB, seconds=0.3):
        raise ConnectionError("No answer either, but outside the hold's scope.")
    hold = place(legal)
    assert LegalHold.objects.get(pk=hold.pk).in_doubt == hold.in_doubt == {"s3": 1}
    assert AuditEvent.objects.get(verb="hold.in_force").data["in_doubt"] == {"s3": 1}


def test_what_was_sent_again_and_answered_is_in_doubt_no_more(legal: Actor) -> None:
    with suppress(ConnectionError), batch(seconds=0.3):
        raise ConnectionError("No answer.")
    with batch(system="redis"):
        pass
    assert place(legal, category="content").in_doubt == {"s3": 1}
    with batch(category="other", system="s3"):
        pass
    assert place(legal).in_doubt == {}


def test_a_hundred_pairs_at_once_never_hang(legal: Actor) -> None:
    """Ten pairs side by side, ten times: each batch ends or is refused, and sends nothing once its hold was placed."""
    sent: dict[int, float] = {}
    placed: dict[int, float] = {}
    starts = [threading.Barrier(2) for _ in range(100)]

    def destroy(lane: int) -> None:
        for number in range(lane, 100, 10):
            starts[number].wait(30)
            with suppress(fence.HoldInForce), batch(f"u-{number}", "") as gate:
                for _ in range(3):
                    gate.check()
                    sent[number] = time.monotonic()

    def hold(lane: int) -> None:
        for number in range(lane, 100, 10):
            starts[number].wait(30)
            place(legal, f"u-{number}")
            placed[number] = time.monotonic()

    for worker in [Beside(partial(work, lane)) for lane in range(10) for work in (destroy, hold)]:
        assert worker.join(90).failure is None
    assert len(placed) == LegalHold.objects.count() == 100
    assert all(moment < placed[number] for number, moment in sent.items())
    assert not FenceBatch.objects.filter(closed_at=None, outcome="").exists()


def test_a_hold_stops_running_requests_and_they_go_on_after_its_release(legal: Actor) -> None:
    actors = building.people()
    request = building.moved(actors, "executing", user=ANN)
    other = building.approved(actors, BOB)
    hold = place(legal)
    request.refresh_from_db()
    other.refresh_from_db()
    assert (request.state, request.resume_state, other.state) == ("blocked_by_hold", "executing", "scheduled")
    holds.release(hold, actor=actors["legal"], reason="settled")
    assert executing.check_resume(request)
    with pytest.raises(fence.HoldInForce), batch():
        pass
    holds.release(hold, actor=actors["legal2"], reason="settled")
    assert executing.resume(request, actor=SYSTEM).state == "executing"
    with batch() as gate:
        gate.check()
