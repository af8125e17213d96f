"""Where the programs lie that we are compared with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def program(name: str) -> str:
    """The path of a program of this environment or of the machine. Raises FileNotFoundError with a sentence."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is needed by the benchmarks; `make setup` as root installs it.")
    return found
