"""What a move may not do, and who may not do it. The database is read again after each refusal."""

from __future__ import annotations

import secrets

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from compliance.actors import Actor
from compliance.errors import Refused
from compliance.models import ErasureRequest, LegalHold
from demo.platform.cast import EAST, WEST
from lifecycle.erasure import gates as erasing
from lifecycle.migration import actions, locks, policy, states
from lifecycle.models import Environment, Migration, Run, Tenant
from tests.lifecycle.migration.stage import ANN, AUDITOR, BEN, QUICK

S = Migration.State


@pytest.fixture
def tenant(platform: object) -> Tenant:
    """A tenant of which only our own rows exist: nothing of it needs to be copied here."""
    made = Tenant.objects.create(id=f"refused-{secrets.token_hex(4)}", name="Refused", home_region=EAST)
    Environment.objects.create(id=f"{made.pk}@{EAST}", tenant=made, region=EAST)
    return made


def planned(tenant: Tenant, **facts: object) -> Migration:
    source = Environment.objects.get(id=f"{tenant.pk}@{EAST}")
    values = {
        "planned_by": "ann",
        "plan": {"findings": []},
        "plan_digest": "d1",
        "settings": dict(QUICK),
        **facts,
    }
    made = Migration.objects.create(
        tenant=tenant, source=source, source_region=EAST, target_region=WEST, **values
    )
    return Migration.objects.get(pk=made.pk)


def refused(tenant: Tenant, *wanted: str, **call: object) -> None:
    before = Migration.objects.count()
    with pytest.raises(Refused) as found:
        actions.plan(**{"actor": ANN, "tenant_id": tenant.pk, "region": WEST, **call})  # type: ignore[arg-type]
    for words in wanted:
        assert words in str(found.value)
    assert Migration.objects.count() == before


def test_only_engineers_plan(tenant: Tenant) -> None:
    refused(tenant, "none of the roles", actor=AUDITOR)


def test_unknown_tenants_and_regions(tenant: Tenant) -> None:
    refused(tenant, "There is no tenant nobody", tenant_id="nobody")
    refused(tenant, "No region is called 'mars'", region="mars")
    refused(tenant, "at home in us-east-1 already", region=EAST)


def test_a_frozen_tenant_stays(tenant: Tenant) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(status="frozen")
    refused(tenant, "only an active one moves")


def test_platinum_needs_a_rehearsal_or_a_reason_and_safe_soak(tenant: Tenant) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(tier="platinum")
    refused(tenant, "passed rehearsal", "safe soak", soak="fast")
    tenant.refresh_from_db()
    assert policy.soak_of(tenant, None) == "safe"
    assert policy.reasons(tenant, "safe", "the clone arrives later", None, False) == []


def test_only_bronze_chooses_a_window(tenant: Tenant) -> None:
    window = {"from": "2026-12-01T00:00:00+00:00", "until": "2026-12-01T02:00:00+00:00"}
    refused(tenant, "Only a bronze tenant", window=window)
    tenant.tier = "bronze"
    assert policy.reasons(tenant, "fast", "", window, False) == []
    assert policy.reasons(tenant, "fast", "", {"from": "soon"}, False)


def test_settings_of_a_plan_are_checked(tenant: Tenant) -> None:
    refused(tenant, "end with 100", own={"steps": [50, 10]})
    refused(tenant, "no settings speed", own={"speed": 9})


def test_one_move_per_tenant(tenant: Tenant) -> None:
    first = planned(tenant)
    refused(tenant, f"being moved by {first.pk}")


def test_a_kept_green_is_given_up_first(tenant: Tenant) -> None:
    Environment.objects.create(id=f"{tenant.pk}@kept", tenant=tenant, region=WEST, role="kept_green")
    refused(tenant, "migration discard")


def test_a_tenant_under_erasure_does_not_move_and_the_other_way_round(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The database lets no request begin as one that is executed; a received one stands for it here.
    monkeypatch.setattr(locks, "_ERASING", ("received",))
    request = ErasureRequest.objects.create(
        tenant=tenant,
        subject_kind="tenant",
        deadline=timezone.now(),
        requester_pseudonym="p",
    )
    refused(tenant, f"Erasure {request.pk}")
    migration = planned(tenant)
    assert erasing.moving(tenant.pk) is None, "a plan alone stops nothing"
    assert any(request.pk in each for each in actions.check_start(migration, actor=ANN))
    Migration.objects.filter(pk=migration.pk).update(started_at="2026-11-25T00:00:00Z", state=S.INITIAL_SYNC)
    assert migration.pk in str(erasing.moving(tenant.pk))


def test_a_plan_is_started_by_its_digest_once(tenant: Tenant) -> None:
    migration = planned(tenant)
    with pytest.raises(Refused, match="not the one that this digest"):
        actions.start(migration, actor=ANN, digest="another")
    with pytest.raises(Refused, match="none of the roles"):
        actions.start(migration, actor=AUDITOR, digest="d1")
    migration.refresh_from_db()
    assert (migration.run_id, migration.started_at) == (None, None)
    assert not Run.objects.filter(subject=migration.pk).exists()


@pytest.mark.parametrize("verb", ["advance", "pause", "resume", "complete", "verify"])
def test_verbs_that_have_nothing_to_do_say_so(tenant: Tenant, verb: str) -> None:
    migration = planned(tenant)
    with pytest.raises(Refused):
        getattr(actions, verb)(migration, actor=ANN)
    assert getattr(actions, f"check_{verb}")(migration, actor=AUDITOR)[0].startswith("arno has none")
    assert Migration.objects.get(pk=migration.pk).state == S.INITIATED


def test_a_way_back_needs_a_reason_and_a_move(tenant: Tenant) -> None:
    migration = planned(tenant)
    assert "Say why it goes back." in actions.check_rollback(migration, actor=ANN, reason=" ")
    assert any("not started" in each for each in actions.check_rollback(migration, actor=ANN, reason="x"))
    Migration.objects.filter(pk=migration.pk).update(state=S.COMPLETED)
    migration.refresh_from_db()
    with pytest.raises(Refused, match="completed"):
        actions.rollback(migration, actor=ANN, reason="x")


def test_who_started_a_move_does_not_complete_it_and_a_hold_forbids_it(tenant: Tenant) -> None:
    migration = planned(tenant, state=S.CUTOVER_COMPLETE, started_by="ann", flipped_at="2026-11-25T00:00:00Z")
    assert actions.check_complete(migration, actor=BEN) == []
    assert any("second person" in each for each in actions.check_complete(migration, actor=ANN))
    with pytest.raises(Refused):
        actions.complete(migration, actor=ANN)
    _hold(tenant)
    assert any("can't be cleared" in each for each in actions.check_complete(migration, actor=BEN))
    with pytest.raises(Refused):
        actions.complete(migration, actor=BEN)
    assert Migration.objects.get(pk=migration.pk).completed_by == ""


def test_a_cutover_is_rolled_back_not_cancelled(tenant: Tenant) -> None:
    migration = planned(tenant, state=S.CUTOVER_STARTED)
    with pytest.raises(Refused, match="roll it back instead"):
        actions.cancel(migration, actor=ANN)


def test_a_plan_that_was_never_started_is_cancelled_at_once(tenant: Tenant) -> None:
    migration = planned(tenant)
    actions.cancel(migration, actor=ANN)
    assert Migration.objects.get(pk=migration.pk).state == S.ROLLED_BACK


def test_green_of_four_is_made_and_four_copy_at_once_and_who_came_first_is_first(tenant: Tenant) -> None:
    made: list[Migration] = []
    here, there = f"here-{tenant.pk}", f"there-{tenant.pk}"
    for number in range(7):
        other, _ = Tenant.objects.get_or_create(
            id=f"queue-{number}", defaults={"name": "Q", "home_region": EAST}
        )
        source, _ = Environment.objects.get_or_create(id=f"queue-{number}@{EAST}", tenant=other, region=EAST)
        run = Run.objects.create(
            workflow="migration", subject=f"queue-{number}-{tenant.pk}", tenant_id=other.pk
        )
        Migration.objects.filter(tenant=other).delete()
        made.append(
            Migration.objects.create(
                tenant=other,
                source=source,
                source_region=here,
                target_region=there,
                run=run,
                planned_by="ann",
                state=S.INITIATED,
                started_at=f"2026-11-25T00:00:0{number}Z",
            )
        )
    try:
        assert locks.take_provisioning(made[4]), "four came before"
        assert [locks.take_provisioning(each) for each in made[:4]] == ["", "", "", ""]
        assert "at most 4 at once" in locks.take_provisioning(made[4])
        Run.objects.filter(pk=made[0].run_id).update(cancel_requested=True)
        assert locks.take_provisioning(made[5]), "another waits before it"
        assert locks.take_provisioning(made[4]) == "", "one that goes back gives up its place"
        Run.objects.filter(pk=made[0].run_id).update(cancel_requested=False)
        ids = [each.pk for each in made]
        Migration.objects.filter(pk__in=ids).update(state=S.PROVISIONING_GREEN)
        made = list(Migration.objects.filter(pk__in=ids).order_by("started_at"))
        assert locks.take_turn(made[4]), "four came before"
        assert [locks.take_turn(each) for each in made[:4]] == ["", "", "", ""]
        assert "at most 4" in locks.take_turn(made[4])
        states.move(made[0], S.DUAL_WRITE_ENABLED, actor=ANN)
        assert locks.take_turn(made[5]), "another waits before it"
        assert locks.take_turn(made[4]) == ""
        assert locks.take_turn(made[5])
        Run.objects.filter(pk=made[5].run_id).update(state=Run.State.FAILED)
        states.move(made[1], S.FAILED, actor=ANN)
        assert locks.take_turn(made[6]) == "", "a failed one gives up its place"
    finally:
        for each in made:
            each.delete()
            Run.objects.filter(pk=each.run_id).delete()


def test_actors_without_roles_do_nothing(tenant: Tenant) -> None:
    nobody = Actor("nora", frozenset(), None, "shell")
    migration = planned(tenant)
    for verb in ("start", "advance", "pause", "resume", "complete", "cancel", "verify"):
        assert getattr(actions, f"check_{verb}")(migration, actor=nobody)


def _hold(tenant: Tenant) -> LegalHold:
    return LegalHold.objects.create(
        tenant=tenant,
        case_reference="c",
        type="litigation",
        state="active",
        placed_by=User.objects.get(username="legal"),
    )
