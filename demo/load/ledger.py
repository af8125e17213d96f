"""The ledger: JSON lines, one a request; whole lines even after kill -9."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. `at`: when its answer came (seconds since 1970); `ms` from sending to the answer; `status` 0: none.

    `acknowledged`: a write that the platform said it keeps. `region` answered, `owner` kept it; `id` and `sha256` of the
    document, `user` who asked.
    """

    kind: str
    at: float
    ms: float
    status: int
    acknowledged: bool = False
    region: str = ""
    owner: str = ""
    id: str = ""
    sha256: str = ""
    user: str = ""
    why: str = ""

    @property
    def failed(self) -> bool:
        """Whether a user would say that the platform failed."""
        return not 200 <= self.status < 300


class Ledger:
    """Appends entries; safe in threads."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, entry: Entry) -> None:
        """One line, written at once."""
        os.write(self._file, json.dumps(asdict(entry)).encode() + b"\n")

    def close(self) -> None:
        """Nothing is written afterwards."""
        os.close(self._file)


def entries(path: Path) -> Iterator[Entry]:
    """What a ledger says, in its order."""
    with path.open() as file:
        for line in file:
            yield Entry(**json.loads(line))
