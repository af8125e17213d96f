"""Sequences are not replicated: before a side owns a tenant's writes, its sequences must not give what was given.

Regions often keep ranges of their own (one counts from 1, the other from 10^15). Raising a sequence into the other's
range would spoil just that, so each is raised only above what lies within reach of where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass

from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams.database import Database

MARGIN = 1_000
REACH = 1_000_000_000  # numbers further ahead than this are another range

_READ = """
SELECT s.schemaname::text, s.sequencename::text, s.increment_by, coalesce(s.last_value, s.start_value)
FROM pg_sequences s WHERE s.schemaname NOT IN ('lifecycle', 'pg_catalog', 'information_schema') AND s.increment_by > 0"""
# Columns that a sequence fills and that begin a unique index: only there can a number be given twice.
_FILLED = """
SELECT DISTINCT format('%%I.%%I', sn.nspname, s.relname), format('%%I.%%I', n.nspname, c.relname), a.attname::text
FROM pg_depend d
JOIN pg_class s ON s.oid = CASE d.classid WHEN 'pg_class'::regclass THEN d.objid ELSE d.refobjid END AND s.relkind = 'S'
JOIN pg_namespace sn ON sn.oid = s.relnamespace
LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
JOIN pg_attribute a ON a.attrelid = coalesce(f.adrelid, d.refobjid) AND a.attnum = coalesce(f.adnum, d.refobjsubid)
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.refclassid = 'pg_class'::regclass AND a.attnum > 0 AND n.nspname <> 'lifecycle'
  AND (f.oid IS NOT NULL OR (d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
  AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indkey[0] = a.attnum)"""


@dataclass(frozen=True, slots=True)
class Sequence:
    """One sequence of one database: its step, and the last number it gave."""

    schema: str
    name: str
    step: int
    last: int

    @property
    def quoted(self) -> str:
        return f"{q(self.schema)}.{q(self.name)}".replace("%%", "%")


def read(database: Database) -> dict[tuple[str, str], Sequence]:
    """The platform's rising sequences by (schema, name)."""
    return {(row[0], row[1]): Sequence(*row) for row in database.rows(_READ)}


def filled(database: Database) -> list[tuple[str, str, str]]:
    """(sequence, table, column) of each column that a sequence fills and an index begins with; names quoted."""
    return [(row[0], row[1], row[2]) for row in database.rows(_FILLED)]


def disjoint(one: Sequence, other: Sequence) -> bool:
    """They don't meet soon: ranges far apart, or the same step with another remainder."""
    if one.step == other.step and one.step > 1 and (one.last - other.last) % one.step:
        return True
    return abs(one.last - other.last) >= REACH


def raise_above(owner: Database | None, follower: Database, margin: int = MARGIN) -> int:
    """Raises the sequences of `follower` above what the owner gave and above the rows that are there, within reach.

    `owner` None: it does not answer, the rows alone count. Returns how many were raised. Idempotent, milliseconds;
    callable under the fence, once the rows have arrived.
    """
    theirs = read(owner) if owner else {}
    columns: dict[str, list[tuple[str, str]]] = {}
    for sequence, table, column in filled(follower):
        columns.setdefault(sequence, []).append((table, column))
    names = {
        (row[0], row[1]): row[2]
        for row in follower.rows(
            "SELECT schemaname::text, sequencename::text, format('%%I.%%I', schemaname, sequencename) FROM pg_sequences"
        )
    }
    raised = 0
    for key, own in read(follower).items():
        floor = own.last
        other = theirs.get(key)
        if other is not None and 0 < other.last + margin - own.last < REACH:
            floor = other.last + margin
        for table, column in columns.get(names[key], ()):
            floor = max(floor, _above_rows(follower, table, column, floor, margin))
        if floor > own.last:
            follower.rows("SELECT setval(%s::regclass, %s)", [own.quoted, floor])
            raised += 1
    return raised


def _above_rows(database: Database, table: str, column: str, floor: int, margin: int) -> int:
    """A number above which no row lies within reach."""
    while True:
        top = database.one(
            f"SELECT max({q(column)}) FROM {table.replace('%', '%%')} WHERE {q(column)} > %s AND {q(column)} <= %s",
            [floor, floor + REACH],
        )
        if top is None:
            return floor
        floor = int(top) + margin


def raise_sequences(owner_dsn: str | None, follower_dsn: str, margin: int = MARGIN) -> int:
    """The same by addresses, for the watchdog: `follower` is about to own. Raises Transient for a silent server."""
    owner, follower = Database(owner_dsn) if owner_dsn else None, Database(follower_dsn)
    try:
        return raise_above(owner, follower, margin)
    finally:
        if owner:
            owner.close()
        follower.close()
