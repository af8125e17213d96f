"""What the watchdog must still know after a crash, with every database dead: one file, replaced and fsynced as a whole."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from lifecycle.systems.base import Permanent
from lifecycle.watchdog.orders import Order


@dataclass(slots=True)
class Move:
    """One live move. `owner` is who owned the writes when we last knew; `epoch` the highest route epoch that we used;
    `bound` the region for which that epoch was begun.

    `told`: both sides know it. `latch`: why it tripped (empty: it didn't). `expected`: the known answer of the golden question. `base`, `base_writes`:
    blue's milliseconds of reads and of writes while it owned them. `done`: the last order that was carried out.
    """

    order: Order
    owner: str
    epoch: int = 0
    bound: str = ""
    settled: bool = False
    told: bool = True
    latch: str = ""
    latch_at: str = ""
    expected: str = ""
    base: list[float] = field(default_factory=list)
    base_writes: list[float] = field(default_factory=list)
    base_probe: list[float] = field(default_factory=list)
    conflicts: int | None = None
    done: int = 0


class Book:
    """The file `watchdog.json` in the state folder, held by one process."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder's lock. Raises Permanent if another watchdog has it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / "watchdog.json"
        self._lock: TextIO = (folder / "watchdog.lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise Permanent(f"Another watchdog runs on {folder}. Only one may; end it first.") from None
        self._written = ""

    def read(self) -> dict[str, Move]:
        """The moves by migration, as the last process left them."""
        if not self._path.exists():
            return {}
        found: dict[str, Any] = json.loads(self._path.read_text())
        return {
            name: Move(**{**each, "order": Order(**each["order"])}) for name, each in found["moves"].items()
        }

    def write(self, moves: dict[str, Move]) -> None:
        """On the disk when this returns; nothing is written where nothing changed."""
        text = json.dumps({"moves": {name: asdict(each) for name, each in moves.items()}})
        if text == self._written:
            return
        new = self._path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._written = text

    def close(self) -> None:
        """Gives the lock back."""
        self._lock.close()
