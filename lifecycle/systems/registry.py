"""Every system, one line each. An eighth is one new folder and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import SYSTEMS, Eraser, Permanent, Preserver, Verifier
from lifecycle.systems.expiry import Expirer
from lifecycle.systems.movable import Move, Mover

_FOLDERS = {name: f"lifecycle.systems.{name}" for name in SYSTEMS}
# What a move carries. Logs, archives and metrics stay where they were written.
MOVABLE = {
    "postgresql": "lifecycle.systems.postgresql.streams.mover",
    "s3": "lifecycle.systems.s3.moving",
    "pinecone": "lifecycle.systems.pinecone.moving",
    "redis": "lifecycle.systems.redis.warming",
}
# Systems whose provider deletes by age.
EXPIRING = ("s3", "cloudwatch")


def eraser(name: str, place: Mapping[str, str], datamap: DataMap) -> Eraser:
    """The eraser of system `name` at `place` (resolved settings). Raises Permanent for an unknown name."""
    made: Eraser = import_module(f"{_folder(name)}.eraser").connect(place, datamap)
    return made


def verifier(name: str, place: Mapping[str, str], datamap: DataMap) -> Verifier:
    """The verifier of system `name` at `place`: read-only credentials, code of its own."""
    made: Verifier = import_module(f"{_folder(name)}.verifier").connect(place, datamap)
    return made


def preserver(place: Mapping[str, str], datamap: DataMap) -> Preserver:
    """What puts the provider's own legal holds on objects: only S3 has them."""
    made: Preserver = import_module(f"{_folder('s3')}.preserver").connect(place, datamap)
    return made


def expirer(name: str, place: Mapping[str, str], datamap: DataMap) -> Expirer:
    """What suspends and restores the provider's own expiry in system `name` at `place`. Raises Permanent elsewhere."""
    if name not in EXPIRING:
        raise Permanent(f"{name} deletes nothing by age. What does: {', '.join(EXPIRING)}.")
    made: Expirer = import_module(f"{_folder(name)}.expiry").connect(place, datamap)
    return made


def mover(name: str, move: Move, datamap: DataMap) -> Mover:
    """The mover of system `name` for one move. Raises Permanent for a system that does not move."""
    if name not in MOVABLE:
        raise Permanent(f"{name} is not moved. What moves: {', '.join(MOVABLE)}.")
    made: Mover = import_module(MOVABLE[name]).connect(move, datamap)
    return made


def load() -> None:
    """Imports what erases, verifies and moves in every system now; each is imported at its first need otherwise."""
    for folder in _FOLDERS.values():
        import_module(f"{folder}.eraser")
        import_module(f"{folder}.verifier")
    for module in MOVABLE.values():
        import_module(module)


def _folder(name: str) -> str:
    if name not in _FOLDERS:
        raise Permanent(f"No system is called {name!r}. Known systems: {', '.join(_FOLDERS)}.")
    return _FOLDERS[name]
