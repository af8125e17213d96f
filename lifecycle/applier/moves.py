"""Which moves are live, as the control database says, and remembered for the time when it does not answer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg2

Places = Mapping[str, Mapping[str, str]]  # system -> setting -> reference, as an environment has them

_LIVE = """
SELECT m.id, m.tenant_id, m.source_region, m.target_region, s.places, t.places
FROM lifecycle_migration m
JOIN lifecycle_order o ON o.migration_id = m.id AND NOT o.closed
JOIN lifecycle_environment s ON s.id = m.source_id
JOIN lifecycle_environment t ON t.id = m.target_id
ORDER BY m.id
"""


@dataclass(frozen=True, slots=True)
class LiveMove:
    """One move whose stores are kept level, in both directions. Places hold references, no secrets."""

    id: str
    tenant: str
    source_region: str
    target_region: str
    source: Places
    target: Places


class Control:
    """The control database, by plain SQL: live moves are read, the beat is written. For one thread."""

    def __init__(self, dsn: str, memory: Path) -> None:
        self._dsn, self._memory = dsn, memory
        self._connection: Any = None

    def live(self) -> list[LiveMove] | None:
        """The live moves; None where the control database does not answer."""
        rows = self._ask(_LIVE, [])
        if rows is None:
            return None
        return [LiveMove(*row) for row in rows]

    def beat(self, detail: Mapping[str, Any]) -> bool:
        """Says that the applier lives, and how far behind each move is. False where nobody could be told."""
        return (
            self._ask(
                "INSERT INTO lifecycle_beat (name, at, pid, detail) VALUES ('applier', clock_timestamp(), %s, %s) "
                "ON CONFLICT (name) DO UPDATE SET at = excluded.at, pid = excluded.pid, detail = excluded.detail "
                "RETURNING 1",
                [os.getpid(), json.dumps(detail)],
            )
            is not None
        )

    def remember(self, moves: Sequence[LiveMove]) -> None:
        """Writes the live moves where a restart finds them."""
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._memory.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump([asdict(move) for move in moves], file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._memory)

    def remembered(self) -> list[LiveMove]:
        """What was last remembered; nothing where nothing was."""
        if not self._memory.exists():
            return []
        return [LiveMove(**each) for each in json.loads(self._memory.read_text())]

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]] | None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg2.connect(
                    self._dsn,
                    connect_timeout=3,
                    options="-c statement_timeout=3000",
                    application_name="applier",
                    keepalives_idle=3,
                    keepalives_interval=1,
                    keepalives_count=2,
                    tcp_user_timeout=4000,
                )
                self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(query, values)
                found: list[tuple[Any, ...]] = cursor.fetchall()
                return found
        except psycopg2.Error:
            # Down, or not migrated yet: the loop goes on with what it knows, and says so in its own log.
            self.close()
            return None
