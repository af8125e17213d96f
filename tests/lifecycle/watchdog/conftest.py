"""Two regions' databases for one tenant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lifecycle.watchdog.pair import Pair, made


@pytest.fixture(scope="module")
def pair(stack: dict[str, Any]) -> Iterator[Pair]:
    with made(stack) as each:
        yield each
