"""A tenant of two regions for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from demo.platform.own_rows import apply_schema
from tests.lifecycle.systems.moving.world import World


@pytest.fixture
def world(stack: dict[str, Any]) -> Iterator[World]:
    made = World(stack, apply_schema)
    yield made
    made.close()
