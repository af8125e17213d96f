"""Where settings come from: the environment, or the description of a local stack.

A user with real services gives their addresses in the environment. Without them, the file
`stack.json` in the run folder, which the local stack writes, gives the same facts.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parent.parent


def run_dir() -> Path:
    """The folder of the local stack and of our own run-time files (`LIFECYCLE_RUN_DIR`, default `.run`)."""
    return Path(os.environ.get("LIFECYCLE_RUN_DIR") or ROOT / ".run").resolve()


@cache
def stack() -> dict[str, Any]:
    """The local stack's description, or an empty one where no local stack is set up."""
    path = run_dir() / "stack.json"
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def is_local() -> bool:
    """True where no real database is named, so that the local stack serves."""
    return "DATABASE_URL" not in os.environ


def setting(name: str, *keys: str, default: str | None = None) -> str:
    """The value of environment variable `name`, else the stack's value under `keys`, else `default`.

    Raises ImproperlyConfigured with a sentence that says what to set.
    """
    if name in os.environ:
        return os.environ[name]
    value: Any = stack() if is_local() else {}
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if keys and isinstance(value, str | int):
        return str(value)
    if default is not None:
        return default
    raise ImproperlyConfigured(
        f"{name} is not set, and no local stack describes it. Set {name}, or start the local stack with `make stack`."
    )
