"""The live program over the tests' own stack: migrated, with its platform, and workers that a trial starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stack.place import CHECKOUT
from tests.lifecycle.trials.live import Live


@pytest.fixture(scope="session")
def _platform(stack_dir: Path) -> Path:
    live = Live(stack_dir)
    subprocess.run(
        [sys.executable, "-m", "demo.stack", "up"],
        cwd=CHECKOUT,
        env=live.env(),
        check=True,
        capture_output=True,
        timeout=180,
    )
    return stack_dir


@pytest.fixture
def live(_platform: Path) -> Iterator[Live]:
    """The command line, no workers yet; whatever a trial starts is ended."""
    made = Live(_platform)
    yield made
    made.stop_workers()
    made.control.close()
