"""The program that moves tenants, for every trial of moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.trials.live import Live
from tests.lifecycle.trials.moves.moving import Moving, program


@pytest.fixture
def moving(live: Live, tmp_path: Path) -> Iterator[Moving]:
    """Workers, watchdog and applier at work, ended after the test."""
    with program(live, tmp_path) as made:
        yield made
