"""Series and logs of exactly the subject go; what the services can't delete yet is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lifecycle.systems.analytics.drift import unclassified
from lifecycle.systems.analytics.eraser import NOT_APART, OUT_OF_ORDER, AnalyticsEraser, connect
from lifecycle.systems.analytics.verifier import AnalyticsVerifier
from lifecycle.systems.base import Action, BatchOver, Item, Scope
from tests.lifecycle.systems.analytics.parts import (
    MAP,
    Open,
    Platform,
    discover,
    entries,
    erase_all,
    finish,
    new_id,
    search,
    user,
    whole,
)


def test_one_user_goes_and_no_twin(
    platform: Platform, eraser: AnalyticsEraser, verifier: AnalyticsVerifier
) -> None:
    tenant = new_id()
    twins = [
        (tenant, "u-1"),
        (tenant, "u-12"),
        (tenant, "u.1"),
        (tenant + "7", "u-1"),
        (tenant, 'q"\\x'),
        (tenant, "u*"),
    ]
    for owner, name in twins:
        platform.series(owner, name, code="200")
        platform.series(owner, name, "tokens_total")
        platform.log(owner, name)
    scope = user(tenant, "u-1", anchors={"namesakes": (tenant + "7",)})
    before = entries(verifier, scope, tenant)
    manifest = erase_all(eraser, scope)
    assert sorted(item.kind for item in manifest) == ["datadog_log", "series", "series"]
    assert verifier.remaining(scope, manifest) == []
    assert search(verifier, scope) == []
    assert before <= entries(verifier, scope, tenant)
    for owner, name in twins[1:]:
        assert len(platform.samples(f"{{tenant={json.dumps(owner)},user={json.dumps(name)}}}")) == 2
    assert {each["attributes"]["user"] for each in platform.logs(tenant)} == {"u-12", "u.1", 'q"\\x', "u*"}


@pytest.mark.parametrize("suffix", ["", "*", "_b", "ü"])
def test_a_whole_tenant_goes_and_no_twin(
    platform: Platform, eraser: AnalyticsEraser, verifier: AnalyticsVerifier, suffix: str
) -> None:
    base = new_id()
    tenant = base + suffix
    for owner in {tenant, base + "7", base + "_", base + "x"}:
        platform.series(owner, "u-1")
        platform.log(owner, "u-1")
    scope = whole(tenant)
    before = entries(verifier, scope, base)
    manifest = erase_all(eraser, scope)
    assert len(manifest) == 2
    assert verifier.remaining(scope, manifest) == []
    assert search(verifier, scope) == []
    assert before <= entries(verifier, scope, base)
    assert platform.logs(tenant) == [] or suffix == "*"


def test_retained_is_marked_and_a_held_user_is_spared(platform: Platform, eraser: AnalyticsEraser) -> None:
    tenant = new_id()
    for name in ("u-1", "u-2"):
        platform.series(tenant, name)
        platform.log(tenant, name)
    kept = discover(eraser, whole(tenant, retained={"analytics": None}))
    assert {item.action for item in kept} == {Action.RETAIN}
    erase_all(eraser, whole(tenant, spared_users=frozenset({"u-2"})))
    assert [each["metric"]["user"] for each in platform.samples(f'{{tenant="{tenant}"}}')] == ["u-2"]
    assert [each["attributes"]["user"] for each in platform.logs(tenant)] == ["u-2"]


def test_samples_out_of_order_are_locked_until_a_date(platform: Platform, eraser: AnalyticsEraser) -> None:
    tenant = new_id()
    platform.series(new_id(), "now", ago=0)
    platform.series(tenant, "u-1", ago=5 * 3600)
    scope = user(tenant, "u-1")
    items = discover(eraser, scope)
    tally = eraser.erase(scope, items, Open())
    assert [each.why for each in tally.locked] == [OUT_OF_ORDER]
    assert tally.locked[0].until is not None
    assert tally.erased == 0


def test_labels_that_linger_have_a_purge_date(platform: Platform, eraser: AnalyticsEraser) -> None:
    tenant = new_id()
    platform.series(tenant, "u-1")
    scope = user(tenant, "u-1")
    for _ in range(2):
        items = discover(eraser, scope)
        eraser.erase(scope, items, Open())
    detail = finish(eraser, scope).detail
    assert "purge_by" in detail
    assert "derived from logs" in detail["notes"]


def test_logs_that_arrive_late_are_asked_for_again(platform: Platform, eraser: AnalyticsEraser) -> None:
    tenant = new_id()
    scope = user(tenant, "u-1")
    platform.log(tenant, "u-1", n=1)
    items = discover(eraser, scope)
    eraser.erase(scope, items, Open())
    assert discover(eraser, scope) == []  # under way
    platform.log(tenant, "u-1", n=2, timestamp=1_700_000_000_000)
    waits = 0
    while "wait_until" in (detail := eraser.finish(scope, Open()).detail):
        waits += 1
        assert waits < 10
    assert platform.logs(tenant) == [], detail


def test_logs_that_only_a_tag_names_go_but_not_with_a_strangers(
    platform: Platform, eraser: AnalyticsEraser
) -> None:
    tenant = new_id()
    platform.log(tenant, "al", attributes=False, n=1)
    erase_all(eraser, user(tenant, "al"))
    assert platform.logs(tenant) == []
    platform.log(tenant, "al", attributes=False, n=2)
    platform.log(tenant, "AL")  # another user, whose tag is stored as `user:al`
    items = discover(eraser, user(tenant, "al"))
    tally = eraser.erase(user(tenant, "al"), items, Open())
    assert [each.why for each in tally.locked] == [NOT_APART]
    assert len(platform.logs(tenant)) == 2


def test_nothing_is_sent_after_the_deadline(platform: Platform, eraser: AnalyticsEraser) -> None:
    tenant = new_id()
    platform.series(tenant, "u-1")
    platform.log(tenant, "u-1")
    scope = whole(tenant)
    items = discover(eraser, scope)
    for item in items:
        with pytest.raises(BatchOver):
            eraser.erase(scope, [item], Open(0.0))
    assert len(discover(eraser, scope)) == 2


def test_mentions_and_canaries(
    platform: Platform, eraser: AnalyticsEraser, verifier: AnalyticsVerifier
) -> None:
    tenant, name = new_id(), f"u-{new_id()}"
    platform.series(tenant, "u-2", path=f"/users/{name}/files")
    platform.log(tenant, "u-2", text=f"for {name}")
    scope = user(tenant, name)
    assert sorted((hit.kind, hit.belongs) for hit in search(verifier, scope)) == [
        ("datadog_log", False),
        ("series", False),
    ]
    markers = tuple(f"canary{new_id()}{number}" for number in range(2))
    shapes = eraser.shapes(scope)
    assert list(shapes) == ["series", "datadog_log"]
    planted = [eraser.plant(scope, shape, marker) for shape, marker in zip(shapes, markers, strict=True)]
    for shape, marker in zip(shapes, markers, strict=True):
        eraser.plant(scope, shape, marker)
    seen = Scope(scope.subject, canaries=markers)
    hits = [hit for hit in search(verifier, seen) if hit.needle == "canary"]
    assert {m for m in markers for hit in hits if m in hit.key + hit.excerpt} == set(markers)
    erase_all(eraser, seen)
    assert [hit for hit in search(verifier, seen) if hit.needle == "canary"] == []
    mention = next(hit for hit in search(verifier, scope) if hit.kind == "series")
    eraser.erase(scope, [Item(mention.kind, mention.key)], Open())
    assert platform.samples(f'{{tenant="{tenant}"}}') == []
    for each in planted:
        eraser.lift(each)


def test_a_personal_label_that_nobody_classified_is_drift(platform: Platform) -> None:
    tenant, name = new_id(), new_id()
    labels: dict[str, Any] = {f"x_{tenant}": name, f"y_{tenant}": "ann@example.org", f"z_{tenant}": "200"}
    platform.series(tenant, name, **labels)
    said = " ".join(unclassified(platform.place, MAP))
    assert f"`x_{tenant}` holds ids of users" in said
    assert f"`y_{tenant}` holds mail addresses" in said
    assert f"z_{tenant}" not in said
    assert name not in said
    eraser = connect({"prometheus": platform.place["prometheus"]}, MAP)
    erase_all(eraser, whole(tenant))
    eraser.close()
    assert tenant not in " ".join(unclassified(platform.place, MAP))
