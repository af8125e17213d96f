"""A database of its own for each test, copied from one that is filled once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lifecycle.systems.postgresql.world import World, fill, world


@pytest.fixture(scope="session")
def filled(stack: dict[str, Any]) -> Iterator[World]:
    """The sample platform with hostile twins in it; closed, so that it can be copied."""
    with world(stack) as made:
        made.connection.autocommit = False
        fill(made)
        made.connection.commit()
        made.connection.close()
        yield made


@pytest.fixture
def platform(stack: dict[str, Any], filled: World) -> Iterator[World]:
    """A copy of the filled platform."""
    with world(stack, copy_of=filled) as made:
        yield made


@pytest.fixture(scope="session")
def empty(stack: dict[str, Any]) -> Iterator[World]:
    """The sample platform's schema without a row; closed, so that it can be copied."""
    with world(stack) as made:
        made.connection.close()
        yield made


@pytest.fixture
def bare(stack: dict[str, Any], empty: World) -> Iterator[World]:
    """A copy of the schema without a row."""
    with world(stack, copy_of=empty) as made:
        yield made
