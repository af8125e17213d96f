"""A tenant's rows leave a side that was given up, under an origin of our own, and only once nothing flows from it.

Measured: with a stream left on, a DELETE on green empties blue. So both streams are dropped first and must be gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from psycopg2.extensions import cursor as Cursor

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import BatchOver, Gate, Permanent, Transient
from lifecycle.systems.movable import Move
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams import tables
from lifecycle.systems.postgresql.streams.database import Database, run
from lifecycle.systems.postgresql.streams.flow import stream_name
from lifecycle.systems.postgresql.streams.tables import Moved

BATCH = 5_000
_BOOKS = ("change", "applied", "probe", "tombstone", "large_object")


class _Open:
    """A batch of a minute, where the caller has no fence."""

    def __init__(self) -> None:
        self.deadline = datetime.now(UTC) + timedelta(seconds=60)

    def check(self) -> None:
        if self.remaining() <= 0:
            raise BatchOver("The batch is over; clean again.")

    def remaining(self) -> float:
        return max(0.0, (self.deadline - datetime.now(UTC)).total_seconds())


@contextmanager
def under_origin(database: Database, move: Move) -> Iterator[Cursor]:
    """A transaction whose changes no stream with `origin = none` sends on, and in which no trigger or foreign key acts.

    The origin is dropped at once: as long as it stands it takes one of max_active_replication_origins.
    """
    origin = stream_name(move.id, "own")
    if database.one("SELECT pg_replication_origin_oid(%s)", [origin]) is None:
        database.rows("SELECT pg_replication_origin_create(%s)", [origin])
    database.rows("SELECT pg_replication_origin_session_setup(%s)", [origin])
    try:
        with database.transaction() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            yield cursor
    finally:
        with suppress(
            Permanent, Transient
        ):  # the session may be gone; the end of the move drops the origin then
            database.rows("SELECT pg_replication_origin_session_reset()")
            drop_origin(database, move)


def drop_origin(database: Database, move: Move) -> None:
    """The origin of our own writes goes."""
    origin = stream_name(move.id, "own")
    if database.one("SELECT pg_replication_origin_oid(%s)", [origin]) is not None:
        database.rows("SELECT pg_replication_origin_drop(%s)", [origin])


def streams(move: Move, database: Database) -> list[str]:
    """Slots and subscriptions of the move that are left in this database."""
    pattern = stream_name(move.id, "").replace("_", "\\_") + "%"
    return [
        str(row[0])
        for row in database.rows(
            "SELECT slot_name::text FROM pg_replication_slots WHERE slot_name LIKE %(p)s AND database = current_database() "
            "UNION SELECT s.subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid "
            "WHERE s.subname LIKE %(p)s AND d.datname = current_database() ORDER BY 1",
            {"p": pattern},
        )
    ]


def publishing(database: Database, moved: Sequence[Moved], tenant: str) -> list[str]:
    """Publications of this database that publish rows of the tenant: by a filter that names it, or without a filter."""
    rows = database.rows(
        "SELECT DISTINCT p.pubname::text FROM pg_publication_tables p WHERE p.schemaname = %s AND p.tablename = ANY(%s) "
        "AND (p.rowfilter IS NULL OR position(quote_literal(%s) IN p.rowfilter) > 0) ORDER BY 1",
        [moved[0].schema, [t.name for t in moved], tenant],
    )
    return [str(row[0]) for row in rows]


def following(move: Move, own: Database, other: Database, moved: Sequence[Moved]) -> list[str]:
    """Everything through which a DELETE in `own` could still reach another database."""
    published = publishing(own, moved, move.tenant)
    left = [*streams(move, own), *streams(move, other)]
    for database in (own, other):
        left += [
            str(row[0])
            for row in database.rows(
                "SELECT subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid "
                "WHERE d.datname = current_database() AND subpublications && %s::text[]",
                [published],
            )
        ]
    # A third database's subscription shows only here, by its slot.
    foreign = [name for name in published if not name.startswith("mv_")]
    left += [
        str(row[0])
        for row in own.rows(
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database() AND plugin = 'pgoutput' "
            "AND (slot_name = ANY(%s) OR (%s AND slot_name !~ '^(mv_|journal)'))",
            [published, bool(foreign)],
        )
    ]
    return sorted(set(left))


def refuse(move: Move, region: str, own: Database, other: Database, moved: Sequence[Moved]) -> None:
    """Raises Permanent while the side owns the tenant, nobody is known to own it, or a stream still flows from it."""
    sides = (move.source.region, move.target.region)
    elsewhere = sides[1] if region == sides[0] else sides[0]
    ask = "SELECT owner FROM lifecycle.route WHERE tenant_id = %s"
    here, there = own.one(ask, [move.tenant]), other.one(ask, [move.tenant])
    if here == region or there == region:
        raise Permanent(f"{region} owns the tenant's writes; nothing was removed. Move ownership away first.")
    if here is None or there != elsewhere:
        raise Permanent(f"Nobody says that {elsewhere} owns the tenant's writes; nothing was removed.")
    left = following(move, own, other, moved)
    if left:
        raise Permanent(
            f"Streams that publish this tenant are still there ({', '.join(left)}); nothing was removed. Drop them, then clean."
        )


def clean(
    move: Move, region: str, own: Database, other: Database, datamap: DataMap, gate: Gate | None = None
) -> None:
    """Removes the tenant's rows of one side, children first, `BATCH` at a time, each in a transaction that ends at the
    gate's deadline. Raises BatchOver when its time is up (call again), Permanent while it must not be."""
    gate = gate or _Open()
    moved = tables.read(own, datamap)
    refuse(move, region, own, other, moved)
    for table in reversed(moved):
        while _delete(move, own, table, gate):
            pass
    gate.check()
    forget_bookkeeping(own, move)
    refresh_views(own, datamap)
    drop_origin(own, move)
    for table in moved:
        if own.one(f"SELECT 1 FROM {table.quoted} WHERE {q(table.tenant)} = %s LIMIT 1", [move.tenant]):
            raise Transient(f"Table {table.name} has rows of the tenant again; clean once more.")


def _delete(move: Move, database: Database, table: Moved, gate: Gate) -> int:
    gate.check()
    left = max(1, int(gate.remaining() * 1000))
    newer = int(database.one("SHOW server_version_num")) >= 170000
    returning = q(table.large_object) if table.large_object else "NULL::oid"
    with under_origin(database, move) as cursor:
        cursor.execute(
            f"SET LOCAL statement_timeout = {left}; SET LOCAL idle_in_transaction_session_timeout = {left}"
        )
        if newer:
            cursor.execute(f"SET LOCAL transaction_timeout = {left}")
        found = run(
            cursor,
            f"DELETE FROM {table.quoted} WHERE {q(table.tenant)} = %s AND ctid = ANY(ARRAY("
            f"SELECT ctid FROM {table.quoted} WHERE {q(table.tenant)} = %s LIMIT {BATCH})) RETURNING {returning}",
            [move.tenant, move.tenant],
        )
        oids = [row[0] for row in found if row[0] is not None]
        if oids:
            cursor.execute(
                "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = ANY(%s::oid[])", [oids]
            )
        gate.check()
    return len(found)


def forget_bookkeeping(database: Database, move: Move) -> None:
    """What the `lifecycle` schema kept of the tenant goes, the route stays: a stray writer is still refused."""
    with under_origin(database, move) as cursor:
        for name in _BOOKS:
            cursor.execute(f"DELETE FROM lifecycle.{name} WHERE tenant_id = %s", [move.tenant])


def refresh_views(database: Database, datamap: DataMap) -> None:
    """The map's materialised views, without locking readers out where an index allows it."""
    for name in datamap.relations.views:
        view = f"{q(datamap.relations.schema)}.{q(name)}"
        unique = database.one(
            "SELECT 1 FROM pg_index WHERE indrelid = %s::regclass AND indisunique AND indpred IS NULL AND indisvalid",
            [view.replace("%%", "%")],
        )
        database.rows(f"REFRESH MATERIALIZED VIEW {'CONCURRENTLY ' if unique else ''}{view}")
