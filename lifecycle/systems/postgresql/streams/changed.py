"""Which rows of a tenant changed since a moment: read from the owner's log, so the cost follows the change rate.

A slot of its own notes the moment; its messages (PostgreSQL documentation, "Logical Replication Message Formats",
version 1) are read for keys only. It keeps log while it stands: make it for the last comparison before a flip, and drop
it with the streams.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from lifecycle.systems.movable import Move
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams.database import Database
from lifecycle.systems.postgresql.streams.flow import Flow, drop_slot, stream_name
from lifecycle.systems.postgresql.streams.tables import Moved

_BATCH = 20_000  # messages of one read
AT_ONCE = (
    4  # moves of one database whose changes are noted: each takes a slot, and reads the whole log for itself
)
_LOCK = 7_301_903
_COUNT = (
    "SELECT count(*) FILTER (WHERE slot_name LIKE 'mv\\_%\\_chk' AND database = current_database()), "
    "current_setting('max_replication_slots')::int - count(*) FROM pg_replication_slots"
)


def begin(move: Move, flow: Flow) -> str:
    """From now on changes of the owner are noted: ''. Else why not yet. Idempotent."""
    name = stream_name(move.id, "chk")
    database = flow.source
    if database.one("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", [name]):
        return ""
    if not database.one("SELECT pg_try_advisory_lock(%s)", [_LOCK]):
        return "Another move begins to note its changes on the same database."
    try:
        noting, free = database.rows(_COUNT)[0]
        if noting >= AT_ONCE or free < 1:
            return (
                f"{noting} moves of the same database compare right before their flip, and {free} slots are free; "
                f"at most {AT_ONCE} compare at once."
            )
        database.rows("SELECT pg_create_logical_replication_slot(%s, 'pgoutput', false, false)", [name])
    finally:
        database.rows("SELECT pg_advisory_unlock(%s)", [_LOCK])
    return ""


def take(move: Move, flow: Flow, moved: Sequence[Moved]) -> dict[str, list[str]]:
    """Keys by table, each once, of what changed since `begin` or the last `take`. Raises Permanent without `begin`."""
    reader = _Reader({table.name: table for table in moved})
    while True:
        rows = flow.source.rows(
            "SELECT data FROM pg_logical_slot_get_binary_changes(%s, NULL, %s, 'proto_version', '1', "
            "'publication_names', %s, 'origin', 'none')",
            [stream_name(move.id, "chk"), _BATCH, q(flow.name).replace("%%", "%")],
        )
        for (message,) in rows:
            reader.read(bytes(message))
        if len(rows) < _BATCH:
            break
    return {
        name: _as_compared(flow.source, table, list(reader.keys[name]))
        for name, table in reader.tables.items()
        if reader.keys.get(name)
    }


def end(move: Move, database: Database) -> None:
    """Nothing is noted any more."""
    drop_slot(database, stream_name(move.id, "chk"))


@dataclass(slots=True)
class _Reader:
    """Keys out of messages. What belongs to no moved table is passed over."""

    tables: dict[str, Moved]
    keys: dict[str, set[tuple[str | None, ...]]] = field(default_factory=dict)
    _known: dict[int, tuple[str, list[str]]] = field(default_factory=dict)

    def read(self, message: bytes) -> None:
        kind = message[:1]
        if kind == b"R":
            self._relation(message)
        elif kind in (b"I", b"U", b"D"):
            oid = struct.unpack_from(">I", message, 1)[0]
            at = 5
            while at < len(message):  # each image: K or O (before), N (after)
                values, at = _tuple(message, at + 1)
                self._note(oid, values)

    def _relation(self, message: bytes) -> None:
        oid = struct.unpack_from(">I", message, 1)[0]
        _, at = _string(message, 5)
        name, at = _string(message, at)
        (count,) = struct.unpack_from(">h", message, at + 1)
        at += 3
        columns = []
        for _ in range(count):
            column, at = _string(message, at + 1)
            at += 8
            columns.append(column)
        self._known[oid] = (name, columns)

    def _note(self, oid: int, values: list[str | None]) -> None:
        name, columns = self._known[oid]
        table = self.tables.get(name)
        if table is None:
            return
        row = dict(zip(columns, values, strict=False))
        self.keys.setdefault(name, set()).add(tuple(row.get(c) for c in table.key_columns))


def _string(message: bytes, at: int) -> tuple[str, int]:
    end_at = message.index(b"\0", at)
    return message[at:end_at].decode(), end_at + 1


def _tuple(message: bytes, at: int) -> tuple[list[str | None], int]:
    (count,) = struct.unpack_from(">h", message, at)
    at += 2
    values: list[str | None] = []
    for _ in range(count):
        kind = message[at : at + 1]
        at += 1
        if kind == b"t":
            (length,) = struct.unpack_from(">I", message, at)
            values.append(message[at + 4 : at + 4 + length].decode())
            at += 4 + length
        else:  # n null, u unchanged and stored elsewhere
            values.append(None)
    return values, at


def _as_compared(database: Database, table: Moved, keys: Sequence[tuple[str | None, ...]]) -> list[str]:
    """Keys as comparisons write them: a type's text differs from its text in JSON."""
    values = ", ".join(
        f"to_jsonb((k.value::jsonb ->> {n})::{table.types[c]}) #>> '{{}}'"
        for n, c in enumerate(table.key_columns)
    )
    rows = database.rows(
        f"SELECT DISTINCT jsonb_build_array({values})::text FROM unnest(%s::text[]) k(value)",
        [[json.dumps(key) for key in keys]],
    )
    return [str(row[0]) for row in rows]
