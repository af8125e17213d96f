"""Large objects, which no stream carries: the follower has objects of its own, kept alike with the owner's.

A row that arrives names the owner's object; a trigger (identity.py) gives it one of the follower's and notes the pair in
`lifecycle.large_object`. Here the content follows, and the pair is noted on the owner's side too, so that rows find
their way back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from lifecycle.systems.movable import Move
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams.cleaning import under_origin
from lifecycle.systems.postgresql.streams.database import Database
from lifecycle.systems.postgresql.streams.tables import Moved

_PAGE = 200
_PIECE = 1 << 20


def sync(source: Database, target: Database, moved: Sequence[Moved], move: Move, seconds: float) -> int:
    """Makes the follower's objects what the owner's are, for at most `seconds`. Returns how many are left to do."""
    until, left = time.monotonic() + seconds, 0
    for table in moved:
        if table.large_object:
            left += _table(source, target, table, table.large_object, move, until)
    return left


def _table(source: Database, target: Database, table: Moved, column: str, move: Move, until: float) -> int:
    oids = [
        row[0]
        for row in source.rows(
            f"SELECT DISTINCT {q(column)}::bigint FROM {table.quoted} WHERE {q(table.tenant)} = %s "
            f"AND {q(column)} IS NOT NULL ORDER BY 1",
            [move.tenant],
        )
    ]
    left = 0
    for start in range(0, len(oids), _PAGE):
        page = oids[start : start + _PAGE]
        if time.monotonic() >= until:
            return left + len(oids) - start
        pairs = {
            row[0]: row[1]
            for row in target.rows(
                "SELECT there, here FROM lifecycle.large_object WHERE tenant_id = %s AND there = ANY(%s)",
                [move.tenant, page],
            )
        }
        left += sum(oid not in pairs for oid in page)  # their rows have not arrived yet
        _note_back(source, move, pairs)
        mine, theirs = _digests(source, list(pairs)), _digests(target, list(pairs.values()))
        for oid, copy in pairs.items():
            if oid in mine and mine[oid] != theirs.get(copy):
                _copy(source, target, move, oid, copy)
    return left


def _note_back(source: Database, move: Move, pairs: dict[int, int]) -> None:
    if pairs:
        source.rows(
            "INSERT INTO lifecycle.large_object (tenant_id, there, here) "
            "SELECT %s, t, h FROM unnest(%s::bigint[], %s::bigint[]) p(t, h) ON CONFLICT DO NOTHING",
            [move.tenant, list(pairs.values()), list(pairs)],
        )


def _digests(database: Database, oids: Sequence[int]) -> dict[int, str]:
    rows = database.rows(
        "SELECT oid::bigint, md5(lo_get(oid)) FROM pg_largeobject_metadata WHERE oid = ANY(%s::oid[])",
        [list(oids)],
    )
    return {row[0]: row[1] for row in rows}


def _copy(source: Database, target: Database, move: Move, oid: int, copy: int) -> None:
    """Piece by piece: an object may be larger than memory."""
    with under_origin(target, move) as cursor:
        # Opened to read and write, cut to nothing; the descriptor ends with the transaction.
        cursor.execute("SELECT lo_truncate64(lo_open(%s, 393216), 0)", [copy])
        at = 0
        while piece := bytes(source.one("SELECT lo_get(%s, %s, %s)", [oid, at, _PIECE])):
            cursor.execute("SELECT lo_put(%s, %s, %s)", [copy, at, piece])
            at += len(piece)
            if len(piece) < _PIECE:
                break
