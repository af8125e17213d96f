"""Two regions' databases for one tenant, and a watchdog beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.watchdog.pair import Pair, made
from tests.lifecycle.watchdog.scene import Scene, playing


@pytest.fixture(scope="module")
def pair(stack: dict[str, Any]) -> Iterator[Pair]:
    with made(stack) as each:
        yield each


@pytest.fixture
def scene(pair: Pair, tmp_path: Path) -> Iterator[Scene]:
    with playing(pair, tmp_path) as each:
        yield each
