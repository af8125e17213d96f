"""Shared by the tests of the judging side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from django.db import connection

from compliance import fence
from compliance.actors import Actor
from lifecycle.models import Tenant
from tests.compliance import building


@pytest.fixture
def actors(db: None) -> dict[str, Actor]:
    """People of every role."""
    return building.people()


@pytest.fixture
def acme(db: None) -> Tenant:
    """A tenant with an admin."""
    return building.tenant()


@pytest.fixture
def application_role(transactional_db: None, stack: dict[str, Any]) -> Iterator[str]:
    """The ORM's connection as the application's own role, which the program has in production."""
    address = urlsplit(stack["control"])
    known = {name: connection.settings_dict[name] for name in ("USER", "PASSWORD")}
    connection.close()
    connection.settings_dict.update(USER=address.username, PASSWORD=address.password)
    fence.disconnect()
    yield str(address.username)
    fence.disconnect()
    connection.close()
    connection.settings_dict.update(known)


@contextmanager
def raw() -> Iterator[psycopg2.extensions.cursor]:
    """A cursor of another session on the test's database, in autocommit."""
    session = psycopg2.connect(**connection.get_connection_params())
    session.autocommit = True
    try:
        with session.cursor() as cursor:
            yield cursor
    finally:
        session.close()


def until(true: Any, seconds: float = 10.0) -> None:
    """Waits until `true()` holds; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "It did not happen in time."
        time.sleep(0.01)
