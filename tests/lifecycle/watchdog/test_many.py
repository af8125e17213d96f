"""Fifty moves at once on two cores: each is looked at at least every two seconds, and a bad one goes back alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lifecycle.models import Environment, Migration, Order, Reading, Tenant
from tests.lifecycle.watchdog.pair import BLUE, GREEN, made
from tests.lifecycle.watchdog.scene import playing, until

MOVES, SECONDS = 49, 30


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.django_db(transaction=True)
def test_fifty_moves_are_each_looked_at_every_two_seconds(stack: dict[str, Any], tmp_path: Path) -> None:
    with made(stack, where="tenant_id <> ''") as pair, playing(pair, tmp_path) as scene:
        settings = scene.now().settings
        for number in range(MOVES):
            name = f"t{number}"
            tenant, _ = Tenant.objects.get_or_create(id=name, defaults={"name": name, "home_region": BLUE})
            home, _ = Environment.objects.get_or_create(id=f"{name}@{BLUE}", tenant=tenant, region=BLUE)
            migration = Migration.objects.create(
                tenant=tenant, source=home, source_region=BLUE, target_region=GREEN, planned_by="t"
            )
            Order.objects.create(
                migration=migration, tenant_id=name, owner=BLUE, watched=True, share=50, settings=settings
            )
            for region in (BLUE, GREEN):
                pair.ask(
                    region,
                    "INSERT INTO lifecycle.route (tenant_id, owner, epoch, moving) VALUES (%s, %s, 1, true)",
                    name,
                    BLUE,
                )
        scene.begin()
        scene.ready()
        with scene.load(rate=30):
            until(lambda: Reading.objects.count() > 50 * 5, 60, scene.words)
            first = Reading.objects.order_by("-id").values_list("at", flat=True)[0]
            until(
                lambda: Reading.objects.filter(at__gt=first).count() > 50 * SECONDS / 2,
                2 * SECONDS,
                scene.words,
            )
            # A decision is carried out among all the others.
            scene.order(share=100, owner=GREEN)
            scene.done()
        gaps = []
        for migration in Migration.objects.all():
            at = list(
                Reading.objects.filter(migration=migration, at__gt=first)
                .order_by("at")
                .values_list("at", flat=True)
            )
            gaps += [(b - a).total_seconds() for a, b in pairwise(at)]
        print(f"gaps between looks: longest {max(gaps):.2f} s of {len(gaps)}")
        assert max(gaps) <= 2.0
        assert not Order.objects.filter(latched=True).exists(), scene.words()
        Order.objects.exclude(migration=scene.migration).delete()
        Reading.objects.all().delete()
        Migration.objects.exclude(pk=scene.migration.pk).delete()
