"""A tenant of two regions for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lifecycle import participation
from tests.lifecycle.systems.moving.world import World


@pytest.fixture
def world(stack: dict[str, Any]) -> Iterator[World]:
    made = World(stack, participation.install)
    yield made
    made.close()
