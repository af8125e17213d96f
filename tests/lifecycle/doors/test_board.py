"""The board of a move, its buttons and the fleet: who may press what, what is told, and silence that is not health."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compliance.actors import Actor
from lifecycle.models import Beat, Environment, Migration, Order, Reading, Tenant
from tests.lifecycle.api.calling import caller

PASSWORD = "correct horse battery"
TENANT = "acme"
DESK = "admin:lifecycle_migration"


@pytest.fixture
def move(actors: dict[str, Actor]) -> Migration:
    """A move in its cutover, with half of the users on green and a healthy reading a moment ago."""
    User.objects.update(is_staff=True, password=make_password(PASSWORD))
    tenant = Tenant.objects.get(pk=TENANT)
    home, _ = Environment.objects.get_or_create(
        id=f"{TENANT}@board", tenant=tenant, region=tenant.home_region
    )
    made = Migration.objects.create(
        tenant=tenant,
        source=home,
        source_region="us-east-1",
        target_region="us-west-2",
        state=Migration.State.CUTOVER_STARTED,
        planned_by="engineer",
        started_by="engineer",
        started_at=timezone.now() - timedelta(minutes=5),
        plan={"findings": [{"system": "s3", "refuses": False, "sentence": "Large objects are copied."}]},
        settings={"steps": [50, 100], "step_seconds": 600, "soak_seconds": 600},
    )
    Order.objects.create(
        migration=made,
        tenant_id=TENANT,
        epoch=3,
        done_epoch=3,
        share=50,
        owner="us-east-1",
        done_at=timezone.now(),
    )
    for second in range(20, 0, -1):
        _reading(made, timezone.now() - timedelta(seconds=second))
    _reading(made, timezone.now())
    for name in ("watchdog", "applier"):
        Beat.objects.update_or_create(name=name, defaults={"at": timezone.now()})
    return made


def _reading(move: Migration, at: Any) -> None:
    data = {
        "blue": {"rps": 20, "errors": 0.0, "p95": 31.0},
        "green": {"rps": 19, "errors": 0.002, "p95": 44.0},
        "lag_bytes": 2048,
        "lag_s": 0.2,
        "changes_behind": 3,
        "gates": [{"name": "error_rate", "value": 0.002, "limit": 0.01, "ok": True, "why": ""}],
        "ready_back": {"seconds": 0.4, "writes_at_risk": 0},
    }
    Reading.objects.create(migration=move, at=at, data=data)


def _browser(name: str) -> Client:
    client = Client()
    assert client.login(username=name, password=PASSWORD)
    return client


def _page(name: str, move: Migration) -> str:
    answer = _browser(name).get(reverse(f"{DESK}_change", args=[move.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize("name", ["officer", "legal", "auditor"])
def test_only_engineers_steer(name: str, move: Migration) -> None:
    url = reverse(f"{DESK}_do", args=[move.pk, "rollback"])
    said = _browser(name).post(url, {"reason": "try"}, follow=True).content.decode()
    assert "engineer" in said
    order = Order.objects.get(pk=move.pk)
    assert (order.share, order.epoch) == (50, 3)
    assert 'id="verb-rollback"' not in _page(name, move)


def test_a_rollback_needs_a_reason(move: Migration) -> None:
    url = reverse(f"{DESK}_do", args=[move.pk, "rollback"])
    said = _browser("engineer").post(url, {"reason": " "}, follow=True).content.decode()
    assert "Say why it goes back." in said
    assert Order.objects.get(pk=move.pk).epoch == 3


def test_completing_before_green_owns_is_refused_with_its_reason_beside_the_button(move: Migration) -> None:
    page = _page("engineer", move)
    assert "green must own and have soaked first" in page
    url = reverse(f"{DESK}_do", args=[move.pk, "complete"])
    _browser("engineer").post(url, {"password": PASSWORD}, follow=True)
    assert Migration.objects.get(pk=move.pk).completed_by == ""


def test_the_board_says_split_way_back_lag_and_gates(move: Migration) -> None:
    page = _page("auditor", move)
    assert "50 % <small>of users on green" in page
    assert "Back to blue now: 0.4 s" in page and "0 writes at risk" in page
    assert "0.2 s" in page and "error rate" in page and "Large objects are copied." in page
    assert page.count("<polyline") == 4  # p95 and errors of blue and green
    assert 'aria-current="step"><span>Cut over' in page


def test_without_fresh_readings_the_light_is_red(move: Migration) -> None:
    Reading.objects.filter(migration=move).update(at=timezone.now() - timedelta(seconds=30))
    Beat.objects.filter(name="watchdog").update(at=timezone.now() - timedelta(seconds=30))
    page = _page("engineer", move)
    assert "Back to blue: not known" in page and "lc-light lc-bad" in page
    assert "The watchdog is silent." in page


def test_what_the_watchdog_took_back_is_said_first(move: Migration) -> None:
    Order.objects.filter(pk=move.pk).update(latched=True, latch_reason="error rate of green is 12 %", share=0)
    page = _page("engineer", move)
    assert "The watchdog took it back: error rate of green is 12 %" in page


def test_the_live_part_tells_when_the_buttons_are_out_of_date(move: Migration) -> None:
    client = _browser("engineer")
    url = reverse(f"{DESK}_live", args=[move.pk])
    page = _page("engineer", move)
    seen = page.split("live/?seen=")[1].split('"')[0]
    assert "HX-Trigger" not in client.get(f"{url}?seen={seen}").headers
    Order.objects.filter(pk=move.pk).update(share=75)
    assert client.get(f"{url}?seen={seen}").headers["HX-Trigger"] == "out-of-date"


def test_the_fleet_counts_tenants_and_names_what_moves(move: Migration) -> None:
    page = _browser("auditor").get(reverse(f"{DESK}_fleet")).content.decode()
    assert reverse(f"{DESK}_change", args=[move.pk]) in page
    assert "us-east-1 → us-west-2" in page and "50 %" in page


def test_the_api_shows_a_move_to_its_tenant_and_steers_with_the_scope_run_alone(move: Migration) -> None:
    reading = caller("engineer", "read")
    assert reading.get(f"migrations/{move.pk}/").json()["share"] == 50
    assert reading.post(f"migrations/{move.pk}/rollback/", reason="try").status_code == 403
    assert Order.objects.get(pk=move.pk).epoch == 3


def test_metrics_tell_of_the_move(move: Migration) -> None:
    text = Client().get("/metrics").content.decode()
    assert f'lifecycle_migration_share_percent{{migration="{move.pk}",tenant="{TENANT}"}} 50' in text
    assert f'lifecycle_migration_way_back_seconds{{migration="{move.pk}",tenant="{TENANT}"}} 0.4' in text
    assert 'lifecycle_migrations{state="traffic_cutover_started"} 1' in text
