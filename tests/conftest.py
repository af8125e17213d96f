"""Every test runs on a local stack of real servers: the one in `LIFECYCLE_RUN_DIR`, `.run/test` by default.

If none runs there it is started, and ended after the tests. Settings read the stack's description, so it
must be up before Django loads them: pyproject.toml therefore names no settings module, this file does.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from demo.stack import control
from demo.stack.place import CHECKOUT

os.environ.setdefault("LIFECYCLE_RUN_DIR", str(CHECKOUT / ".run" / "test"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# The test database is made by the role that may make one, and owned by it.
os.environ.setdefault("MIGRATE", "1")
# Never on services that the environment may name.
for _name in ("DATABASE_URL", "DATABASE_OWNER_URL"):
    os.environ.pop(_name, None)

RUN_DIR = Path(os.environ["LIFECYCLE_RUN_DIR"]).resolve()
_started_here = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Bring the stack up before pytest-django loads the settings."""
    if config.option.help or config.option.version:
        return
    config.stash[_started_here] = control.supervisor(RUN_DIR) is None
    control.up(RUN_DIR)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the stack if it was started for these tests."""
    if config.stash.get(_started_here, False):
        control.down(RUN_DIR)


@pytest.fixture(scope="session")
def stack() -> dict[str, Any]:
    """The stack's description (stack.json): addresses and secrets of every server."""
    page: dict[str, Any] = json.loads((RUN_DIR / "stack.json").read_text())
    return page


@pytest.fixture(scope="session")
def stack_dir() -> Path:
    """The folder of the stack, for `demo.stack.control`: stop, start, signal and restart servers."""
    return RUN_DIR
