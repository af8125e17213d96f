"""Two regions' databases for each module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lifecycle.systems.postgresql.streams.pair import Pair, pair


@pytest.fixture(scope="module")
def plain(stack: dict[str, Any]) -> Iterator[Pair]:
    """As a platform is before its standing change."""
    with pair(stack) as made:
        yield made


@pytest.fixture(scope="module")
def ready(stack: dict[str, Any]) -> Iterator[Pair]:
    """Prepared, nothing copied yet."""
    with pair(stack) as made:
        made.prepare()
        made.routes("us-east-1")
        yield made
