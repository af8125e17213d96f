"""Mends the follower's rows from the owner's, under an origin of our own: nothing of it flows back.

Rows are held on the owner (FOR SHARE) and the follower has caught up before it is written to, so a mend never
overwrites something newer, and the stream never meets a row that it was about to bring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg2.extensions import cursor as Cursor

from lifecycle.systems.base import Transient
from lifecycle.systems.movable import Difference, Move
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams.cleaning import under_origin
from lifecycle.systems.postgresql.streams.database import Database, run
from lifecycle.systems.postgresql.streams.flow import Flow
from lifecycle.systems.postgresql.streams.hashing import Hashed
from lifecycle.systems.postgresql.streams.tables import Moved

BATCH = 200


def repair(move: Move, flow: Flow, moved: Sequence[Moved], differences: Sequence[Difference]) -> int:
    """Makes the follower's rows of these keys what the owner's are now. Returns how many keys were looked after.

    No foreign key acts meanwhile, so the order of tables doesn't count. Raises Transient when the follower is behind.
    """
    wanted: dict[str, list[str]] = {}
    for each in differences:
        if each.store == "postgresql":
            wanted.setdefault(each.item, []).append(each.key)
    mended, other = 0, Database(flow.source.dsn)  # the first connection holds rows meanwhile
    try:
        for table in moved:
            keys = sorted(set(wanted.get(table.name, ())))
            for start in range(0, len(keys), BATCH):
                mended += _mend(move, flow, other, Hashed(table, flow.tenant), keys[start : start + BATCH])
    finally:
        other.close()
    return mended


def _mend(move: Move, flow: Flow, other: Database, table: Hashed, keys: Sequence[str]) -> int:
    columns = [c for c in table.table.columns if c not in table.table.generated]
    names = ", ".join(q(c) for c in columns)
    where, params = table.found(keys)
    values = ", ".join(f"{q(c)}::text" for c in columns)
    with flow.source.transaction() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        rows = run(cursor, f"SELECT {values} FROM {table.table.quoted} WHERE {where} FOR SHARE", params)
        asked = Flow(flow.name, flow.tenant, other, flow.target)
        if not asked.wait(asked.watermark(), 5):
            raise Transient("The follower has not caught up; it is mended once it has.")
        with under_origin(flow.target, move) as writer:
            writer.execute("SET LOCAL lock_timeout = '2s'")
            _replace(writer, table, columns, names, rows, keys)
    return len(keys)


def _replace(
    cursor: Cursor,
    table: Hashed,
    columns: Sequence[str],
    names: str,
    rows: Sequence[tuple[Any, ...]],
    keys: Sequence[str],
) -> None:
    """The follower's rows of these keys go, the owner's come. No foreign key acts: the role is `replica`."""
    where, params = table.found(keys)
    run(cursor, f"DELETE FROM {table.table.quoted} WHERE {where}", params)
    if not rows:
        return
    # A large object's number is the owner's; the table's trigger makes it one of the follower.
    casts = ", ".join(f"%s::{table.table.types[c]}" for c in columns)
    for row in rows:
        cursor.execute(
            f"INSERT INTO {table.table.quoted} ({names}) OVERRIDING SYSTEM VALUE VALUES ({casts})", row
        )
