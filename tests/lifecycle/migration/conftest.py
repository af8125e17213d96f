"""One stage for all tests of moves. The database is written for real: the watchdog reads it from a process of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from pytest_django import DjangoDbBlocker

from demo.platform import own_rows
from lifecycle import tenants
from lifecycle.systems.postgresql.streams import identity
from tests.lifecycle.migration.stage import Stage, playing


@pytest.fixture(scope="session")
def platform(
    stack: dict[str, Any], django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[dict[str, Any]]:
    """The seeded platform, both regions prepared for moves."""
    settings.STEP_BACKOFF = [0.2, 0.5, 1.0]
    with django_db_blocker.unblock():
        own_rows.seed_platform(stack)
        for region in stack["regions"].values():
            identity.prepare(region["postgres_mover"], tenants.current_map())
        yield stack


@pytest.fixture(scope="session")
def stage(platform: dict[str, Any], django_db_blocker: DjangoDbBlocker) -> Iterator[Stage]:
    """The stage with watchdog and applier."""
    with django_db_blocker.unblock(), playing(platform, f"m{secrets.token_hex(3)}-") as made:
        yield made


@pytest.fixture(autouse=True)
def _database(platform: dict[str, Any], django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A whole move takes half a minute here, and several times that beside other work."""
    for item in items:
        if "lifecycle/migration" in item.nodeid and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))
