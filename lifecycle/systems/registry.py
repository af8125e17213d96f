"""Every system, one line each. An eighth is one new folder and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import SYSTEMS, Eraser, Permanent, Verifier

_FOLDERS = {name: f"lifecycle.systems.{name}" for name in SYSTEMS}


def eraser(name: str, place: Mapping[str, str], datamap: DataMap) -> Eraser:
    """The eraser of system `name` at `place` (resolved settings). Raises Permanent for an unknown name."""
    made: Eraser = import_module(f"{_folder(name)}.eraser").connect(place, datamap)
    return made


def verifier(name: str, place: Mapping[str, str], datamap: DataMap) -> Verifier:
    """The verifier of system `name` at `place`: read-only credentials, code of its own."""
    made: Verifier = import_module(f"{_folder(name)}.verifier").connect(place, datamap)
    return made


def _folder(name: str) -> str:
    if name not in _FOLDERS:
        raise Permanent(f"No system is called {name!r}. Known systems: {', '.join(_FOLDERS)}.")
    return _FOLDERS[name]
