"""Fixtures of the Redis tests: the stack's server, two databases of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lifecycle.systems.redis.connection import Databases
from lifecycle.systems.redis.eraser import RedisEraser
from lifecycle.systems.redis.eraser import connect as connect_eraser
from lifecycle.systems.redis.verifier import RedisVerifier
from lifecycle.systems.redis.verifier import connect as connect_verifier
from tests.lifecycle.systems.redis.parts import MAP, NUMBER, OTHER


@pytest.fixture(scope="session")
def place(stack: dict[str, Any]) -> dict[str, str]:
    region = stack["regions"]["us-east-1"]
    return {"url": region["redis"], "reader_url": region["redis_reader"]}


@pytest.fixture(scope="session")
def databases(place: dict[str, str]) -> Iterator[Databases]:
    opened = Databases(place)
    for number in range(16):  # what other tests left would be found too
        opened.client(number).flushdb()
    yield opened
    opened.close()


@pytest.fixture
def client(databases: Databases) -> Iterator[Any]:
    """The tests' database, empty before and after."""
    for number in (NUMBER, OTHER):
        databases.client(number).flushdb()
    yield databases.client(NUMBER)
    for number in (NUMBER, OTHER):
        databases.client(number).flushdb()


@pytest.fixture
def eraser(place: dict[str, str]) -> Iterator[RedisEraser]:
    made = connect_eraser(place, MAP)
    yield made
    made.close()


@pytest.fixture
def verifier(place: dict[str, str]) -> Iterator[RedisVerifier]:
    made = connect_verifier(place, MAP)
    yield made
    made.close()
