"""One world for all erasure tests. The database is written for real: the fence looks from a connection of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from pytest_django import DjangoDbBlocker

from compliance.certificate import bundle
from demo.platform import own_rows
from tests.lifecycle.erasure import reading
from tests.lifecycle.erasure.world import Finished, World, failures


@pytest.fixture(scope="session")
def world(
    stack: dict[str, Any], django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[World]:
    """The seeded platform. Nothing is rolled back: every test has tenants of its own."""
    settings.STEP_BACKOFF = [0.2, 0.5, 1.0]
    with django_db_blocker.unblock():
        own_rows.seed_platform(stack)
        made = World(stack, f"w{secrets.token_hex(3)}-")
        # Namesakes that stay, as on any platform: an id alone proves nothing in another tenant's data. Without one, what a
        # hold keeps of an erased namesake waits for an officer's decision.
        made.tenant("ada", "bob", "ada-2", lasting=True)
        yield made


@pytest.fixture(autouse=True)
def _database(world: World, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield
    world.clear()


@pytest.fixture(scope="session")
def finished(
    world: World, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """One user's whole erasure, beside a namesake and a twin of the tenant, for all that look at how it ended."""
    with django_db_blocker.unblock():
        customer, twin = (
            world.tenant(*users, lasting=True) for users in (("ada", "bob", "ada-2"), ("ada", "bob"))
        )
        region = world.stack["regions"]["us-east-1"]
        before = reading.digest(reading.everything(region), tenant=twin.id)
        request = world.request(customer, "ada")
        run = world.finish(world.approve(request))
        assert run.state == "done", list(failures(run))
        return Finished(
            customer,
            twin,
            request,
            before=before,
            after=list(reading.everything(region)),
            status=world.status(request),
            files=bundle.write(request.certificates.get(), tmp_path_factory.mktemp("certificate")),
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A whole erasure takes half a minute here, and several times that beside other work."""
    for item in items:
        if "lifecycle/erasure" in item.nodeid and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))
