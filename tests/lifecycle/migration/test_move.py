"""Whole moves between two real regions: forth and finished, back before and after the flip, cancelled, held, discarded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from compliance.errors import Refused
from compliance.models import AuditEvent
from demo.platform.cast import EAST, WEST, Customer
from lifecycle.engine import runs
from lifecycle.migration import actions, movers, status
from lifecycle.models import Environment, Migration, Order, Run, Tenant, Undo
from lifecycle.systems.postgresql.streams import cleaning
from tests.lifecycle.migration.stage import ANN, BEN, Stage
from tests.lifecycle.traffic.edge import free_port

S = Migration.State


def soaked(migration: Migration) -> bool:
    return "second person" in status.of(migration)["why"]


@contextmanager
def _writing(stage: Stage, customer: Customer) -> Iterator[list[int]]:
    """The application of green writes a document every tenth of a second; its answers."""
    over, answers = threading.Event(), list[int]()

    def write() -> None:
        while not over.wait(0.1):
            answers.append(stage.post(WEST, customer).status_code)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield answers
    finally:
        over.set()
        writer.join()


def test_a_tenant_moves_and_blue_is_cleared_after_a_second_persons_word(stage: Stage) -> None:
    """Under a safe soak, in which no write may fail while blue goes."""
    customer = stage.tenant()
    before = stage.of_tenant(EAST, customer.id)
    assert before["documents"] > 0
    migration = stage.started(customer, soak="safe")
    stage.work(migration, soaked)
    soak = "SELECT soak FROM lifecycle.route WHERE tenant_id = %s"
    assert stage.rows(WEST, soak, customer.id) == [("safe",)]
    with pytest.raises(Refused, match="second person"):
        actions.complete(migration, actor=ANN)
    whole = stage.of_tenant(EAST, customer.id)
    # The service's golden document may have come.
    assert whole["documents"] - before["documents"] in (0, 1), "blue is whole until then"
    checked = actions.verify(migration, actor=ANN)
    assert (checked["clean"], checked["differences"]) == (True, [])

    hold = stage.hold(customer)
    with pytest.raises(Refused, match="Nothing is destroyed"):
        actions.complete(migration, actor=BEN)
    stage.lift(hold)
    actions.complete(migration, actor=BEN)
    hold = stage.hold(customer)
    stage.work(migration, lambda each: "Nothing is destroyed" in status.of(each)["why"])
    assert stage.of_tenant(EAST, customer.id) == whole, "a hold that comes later keeps blue too"
    with _writing(stage, customer) as answers:
        stage.lift(hold)
        stage.reach(migration, S.COMPLETED)
    assert len(answers) > 20
    assert set(answers) == {201}
    assert stage.of_tenant(EAST, customer.id) == {"documents": 0, "namespaces": 0}
    assert stage.of_tenant(WEST, customer.id) == {**whole, "documents": whole["documents"] + len(answers)}
    assert stage.left_behind(migration) == []
    tenant = Tenant.objects.get(pk=customer.id)
    home = Environment.objects.get(tenant=tenant, role="home", gone_at=None)
    assert (tenant.home_region, home.region) == (WEST, WEST)
    stays = Environment.objects.get(tenant=tenant, region=EAST, gone_at=None)
    assert sorted(stays.places) == ["analytics", "backups", "cloudwatch"], "an erasure must still find these"
    assert not Undo.objects.filter(run=migration.run_id, undone_at=None).exists()
    assert {
        owner
        for (owner,) in stage.rows(
            EAST, "SELECT owner FROM lifecycle.route WHERE tenant_id = %s", customer.id
        )
    } == {WEST}
    told = [
        event.data["to"]
        for event in AuditEvent.objects.filter(case_id=migration.pk, verb="migration.moved").order_by("seq")
    ]
    assert told == [
        "provisioning_green", "initial_sync", "dual_write_enabled", "incremental_sync", "traffic_cutover_started",
        "traffic_cutover_complete", "blue_decommissioned", "completed",
    ]  # fmt: skip
    with pytest.raises(Refused):
        actions.rollback(migration, actor=ANN, reason="too late")


def test_what_differs_just_before_the_flip_is_mended_before_green_may_write(stage: Stage) -> None:
    customer = stage.tenant()
    migration = stage.started(customer, own={"steps": [100], "step_seconds": 600.0})
    stage.work(
        migration,
        lambda each: (order := stage.order(each)) and order.share == 100 and order.done_epoch >= order.epoch,
    )
    written = [stage.write(customer) for _ in range(3)]
    stage.until(lambda: all(stage.has(WEST, customer, each) for each in written))
    with (
        movers.mover(migration, "postgresql") as mover,
        cleaning.under_origin(mover.target, mover.move) as cursor,
    ):
        cursor.execute("UPDATE documents SET title = 'damaged' WHERE id = %s", [written[0]])
    stage.lose_object(WEST, customer, written[1])
    actions.advance(migration, actor=ANN)
    stage.work(migration, lambda each: "keys differed just before the flip" in status.of(each)["why"])
    assert stage.order(migration).owner == EAST, "nothing is flipped over a difference"
    stage.reach(migration, S.CUTOVER_COMPLETE)
    assert all(stage.has(WEST, customer, each) for each in written)
    assert stage.rows(WEST, "SELECT 1 FROM documents WHERE id = %s AND title = 'damaged'", written[0]) == []
    assert actions.verify(migration, actor=ANN)["clean"]
    assert [each for each in stage.left_behind(migration) if "_chk" in each] == [], (
        "log is kept for it no longer"
    )
    actions.rollback(migration, actor=ANN, reason="tried")
    stage.undone(migration)


def test_back_after_the_flip_keeps_green_until_it_is_discarded(stage: Stage) -> None:
    customer = stage.tenant()
    migration = stage.started(customer, own={"soak_seconds": 600.0})
    stage.reach(migration, S.CUTOVER_COMPLETE)
    assert stage.order(migration).owner == WEST
    actions.rollback(migration, actor=ANN, reason="answers look odd")
    assert Migration.objects.get(pk=migration.pk).state == S.ROLLED_BACK, "the watchdog was quick"
    stage.undone(migration)
    assert migration.report["why"] == "answers look odd"
    assert migration.report["owner"] == WEST
    assert migration.target is not None
    assert Environment.objects.get(pk=migration.target_id).role == "kept_green"
    assert stage.of_tenant(WEST, customer.id)["documents"] > 0, "kept for the post-mortem"
    assert [each for each in stage.left_behind(migration) if "slot" in each or "subscription" in each] == []
    for region in (EAST, WEST):
        assert stage.rows(region, "SELECT owner FROM lifecycle.route WHERE tenant_id = %s", customer.id) == [
            (EAST,)
        ]
    with pytest.raises(Refused, match="discard"):
        stage.plan(customer)
    run = actions.discard(migration, actor=ANN)
    runs.execute(run, timeout=120)
    assert Run.objects.get(pk=run.pk).state == Run.State.DONE
    assert stage.of_tenant(WEST, customer.id) == {"documents": 0, "namespaces": 0}
    assert stage.left_behind(migration) == []
    assert Environment.objects.get(pk=migration.target_id).gone_at is not None
    assert Tenant.objects.get(pk=customer.id).home_region == EAST


def test_paused_it_keeps_its_share_and_the_watchdogs_trip_is_followed_with_its_report(stage: Stage) -> None:
    customer = stage.tenant()
    migration = stage.started(customer, own={"step_seconds": 600.0})
    stage.work(
        migration,
        lambda each: (order := stage.order(each)) and order.share == 50 and order.done_epoch >= order.epoch,
    )
    actions.pause(migration, actor=ANN)
    runs.execute(Run.objects.get(pk=migration.run_id), timeout=5)
    assert (Run.objects.get(pk=migration.run_id).state, stage.order(migration).share) == (
        Run.State.PAUSED,
        50,
    )
    assert actions.check_pause(migration, actor=ANN)
    actions.resume(migration, actor=ANN)
    actions.advance(migration, actor=ANN)
    stage.work(migration, lambda each: stage.order(each).share == 100)
    Order.objects.filter(migration=migration).update(
        latched=True, latch_reason="errors: 40 % of green's requests fail"
    )
    stage.reach(migration, S.ROLLED_BACK)
    assert migration.reason.startswith("errors: 40 %")
    assert migration.report["share"] == 100
    stage.undone(migration)
    order = stage.order(migration)
    assert (order.share, order.owner, order.closed, order.latched) == (0, EAST, True, False)
    with pytest.raises(Refused):
        actions.advance(migration, actor=ANN)


@pytest.mark.parametrize("state", [pytest.param(S.INITIAL_SYNC, marks=pytest.mark.chaos), S.INCREMENTAL_SYNC])
def test_cancelled_before_the_cutover_nothing_is_left(stage: Stage, state: str) -> None:
    customer = stage.tenant()
    migration = stage.reach(stage.started(customer), state)
    actions.cancel(migration, actor=ANN)
    stage.undone(migration)
    assert migration.state == S.ROLLED_BACK
    assert migration.reason == "Cancelled by ann."
    assert stage.left_behind(migration) == []
    assert stage.of_tenant(WEST, customer.id) == {"documents": 0, "namespaces": 0}
    assert Environment.objects.get(pk=migration.target_id).gone_at is not None
    assert stage.plan(customer).state == S.INITIATED, "it can be planned anew"


@pytest.mark.chaos
def test_silence_holds_and_then_goes_back(stage: Stage) -> None:
    customer = stage.tenant()
    own = {"step_seconds": 0.0, "hold_seconds": 2.0, "prometheus": True, "metric": "nothing_of_the_kind"}
    migration = stage.started(customer, own=own)
    stage.reach(migration, S.ROLLED_BACK)
    assert "no measurements of this tenant" in migration.reason
    verdicts = AuditEvent.objects.filter(case_id=migration.pk, data__to=S.CUTOVER_STARTED)
    assert not verdicts.exists(), "nothing advanced on silence"
    stage.undone(migration)


@pytest.mark.chaos
def test_a_prometheus_that_dies_holds_and_then_the_move_goes_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEAD_PROMETHEUS", f"http://127.0.0.1:{free_port()}")
    own = {"step_seconds": 0.0, "hold_seconds": 2.0, "prometheus": True}
    migration = stage.reach(stage.started(stage.tenant(), own=own), S.INCREMENTAL_SYNC)
    green = Environment.objects.get(pk=migration.target_id)
    green.places["analytics"] = {**green.places["analytics"], "prometheus": "env:DEAD_PROMETHEUS"}
    green.save(update_fields=["places"])
    stage.reach(migration, S.ROLLED_BACK)
    assert "Prometheus does not answer" in migration.reason
    advanced = AuditEvent.objects.filter(case_id=migration.pk, data__to=S.CUTOVER_STARTED)
    assert not advanced.exists(), "nothing advanced on silence"
    stage.undone(migration)


def test_a_definition_that_changed_fails_the_move_and_cancelled_it_leaves_nothing(stage: Stage) -> None:
    customer = stage.tenant()
    migration = stage.started(customer)
    plan = migration.plan | {"fingerprints": migration.plan["fingerprints"] | {WEST: "another"}}
    Migration.objects.filter(pk=migration.pk).update(plan=plan)
    stage.reach(migration, S.FAILED)
    assert f"changed in {WEST} after the plan" in migration.reason
    with pytest.raises(Refused, match="not undone yet"):
        stage.plan(customer)
    actions.resume(migration, actor=ANN)
    assert Migration.objects.get(pk=migration.pk).state == S.INITIAL_SYNC, "it is tried again where it was"
    stage.reach(migration, S.FAILED)
    actions.cancel(migration, actor=ANN)
    stage.undone(migration)
    assert (migration.state, stage.left_behind(migration)) == (S.ROLLED_BACK, [])
