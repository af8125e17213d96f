"""What stands in the way of moving a tenant's rows, and what the approver should know. Reads only."""

from __future__ import annotations

from collections.abc import Iterator

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.movable import Finding, Move
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams import collisions, fingerprint, tables
from lifecycle.systems.postgresql.streams.database import Database
from lifecycle.systems.postgresql.streams.tables import Moved

OLDEST = 160_000  # server_version_num: `origin = none`
LONG_S = 300  # a write transaction older than this would keep a slot from being made
_NO_EQUALITY = ("json", "xml", "point", "polygon", "box", "path", "lseg", "line", "circle")
_MOST = 5  # streams of one move on each server, with those of its table copies


def findings(move: Move, source: Database, target: Database, datamap: DataMap) -> list[Finding]:
    """All findings of one move."""
    try:
        found = [*_servers(move, source, target), *_changing(move, source, target, datamap)]
        if any(each.refuses for each in found):
            return found
        mine, theirs = tables.read(source, datamap), tables.read(target, datamap)
        lacking = [
            *tables.unprepared(mine, move.source.region),
            *tables.unprepared(theirs, move.target.region),
        ]
        found += [Finding(True, sentence) for sentence in lacking]
        found += _schemas(source, target, datamap)
        if any(each.refuses for each in found):
            return found
        found += _shapes(mine)
        found += _strangers(move, target, theirs)
        found += collisions.findings(move, source, target, mine)
        found += _foreign_keys(move, source, target, mine, datamap)
        found += _truncating(move, source, target, mine)
        found += _transactions(move, source)
        found += _views_and_objects(move, source, mine, datamap)
        return found
    except (Permanent, Transient) as error:
        return [Finding(True, f"The databases of the move can't be read: {error}")]


def _servers(move: Move, source: Database, target: Database) -> Iterator[Finding]:
    for region, database in ((move.source.region, source), (move.target.region, target)):
        version = int(database.one("SHOW server_version_num"))
        if version < OLDEST:
            yield Finding(
                True,
                f"{region}: PostgreSQL is older than 16; streams both ways at once need `origin = none`.",
            )
        if database.one("SHOW wal_level") != "logical":
            yield Finding(True, f"{region}: wal_level is not `logical`; set it and restart the server.")
        if database.one("SELECT to_regclass('lifecycle.route')") is None:
            yield Finding(True, f"{region}: schema `lifecycle` is missing; install lifecycle.participation.")
        yield from _role(region, database)
        yield from _room(region, database)
    if source.one("SELECT system_identifier FROM pg_control_system()") == target.one(
        "SELECT system_identifier FROM pg_control_system()"
    ) and source.one("SELECT current_database()") == target.one("SELECT current_database()"):
        yield Finding(True, "Source and target are the same database.")


def _role(region: str, database: Database) -> Iterator[Finding]:
    rights = database.rows(
        "SELECT rolreplication OR rolsuper, pg_has_role(current_user, 'pg_create_subscription', 'USAGE'), "
        "has_database_privilege(current_database(), 'CREATE'), "
        "has_parameter_privilege('session_replication_role', 'SET'), "
        "has_function_privilege('pg_replication_origin_session_setup(text)', 'EXECUTE') "
        "FROM pg_roles WHERE rolname = current_user"
    )[0]
    needs = (
        "REPLICATION",
        "membership in pg_create_subscription",
        "CREATE on the database",
        "SET on session_replication_role",
        "EXECUTE on the pg_replication_origin functions",
    )
    for had, need in zip(rights, needs, strict=True):
        if not had:
            yield Finding(True, f"{region}: the mover's role lacks {need}.")


def _room(region: str, database: Database) -> Iterator[Finding]:
    """Before PostgreSQL 18 origins count against max_replication_slots too, each kind for itself."""
    slots, senders, workers, origins = database.rows(
        "SELECT current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots), "
        "current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication), "
        "current_setting('max_logical_replication_workers')::int - (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL), "
        "coalesce(current_setting('max_active_replication_origins', true), current_setting('max_replication_slots'))::int "
        "- (SELECT count(*) FROM pg_replication_origin)"
    )[0]
    for free, setting in (
        (slots, "max_replication_slots"),
        (senders, "max_wal_senders"),
        (workers, "max_logical_replication_workers"),
        (origins, "max_active_replication_origins"),
    ):
        if free < _MOST:
            yield Finding(
                True, f"{region}: only {free} of {setting} are free, a move needs {_MOST}; raise it or wait."
            )


def room(move: Move, source: Database, target: Database) -> str:
    """Why neither database nor the other can carry one more stream now; '' where both can. What a plan found free may
    be taken when the move's turn comes."""
    for region, database in ((move.source.region, source), (move.target.region, target)):
        for finding in _room(region, database):
            return finding.sentence
    return ""


def _schemas(source: Database, target: Database, datamap: DataMap) -> Iterator[Finding]:
    mine, theirs = fingerprint.by_table(source, datamap), fingerprint.by_table(target, datamap)
    differing = sorted(name for name in mine if mine[name] != theirs.get(name))
    if differing:
        yield Finding(
            True,
            f"The regions define tables differently: {', '.join(differing)}. Deploy the same schema to both.",
        )


def _changing(move: Move, source: Database, target: Database, datamap: DataMap) -> Iterator[Finding]:
    """Definitions that are being changed at this moment. Before anything that such a lock would make wait."""
    names = [t.name for t in datamap.relations.tables]
    for region, database in ((move.source.region, source), (move.target.region, target)):
        locked = database.one(
            "SELECT string_agg(DISTINCT c.relname, ', ') FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
            "WHERE l.mode = 'AccessExclusiveLock' AND c.relname = ANY(%s) AND c.relkind IN ('r', 'p') "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [names],
        )
        if locked:
            yield Finding(
                True, f"{region}: definitions are being changed now: {locked}. Wait until it is over."
            )


def _shapes(moved: list[Moved]) -> Iterator[Finding]:
    for table in moved:
        if table.partitioned:
            yield Finding(True, f"Table {table.name} is partitioned, which a move does not follow.")
        if not table.key:
            bad = sorted(c for c, kind in table.types.items() if kind in _NO_EQUALITY)
            if bad:
                yield Finding(
                    True,
                    f"Table {table.name} has no key and column {bad[0]} can't be compared: its rows would not be found.",
                )
            else:
                yield Finding(
                    False,
                    f"Table {table.name} has no key: its rows are followed as wholes, which is slow for many.",
                )


def _strangers(move: Move, target: Database, moved: list[Moved]) -> Iterator[Finding]:
    there = [
        table.name
        for table in moved
        if target.one(f"SELECT 1 FROM {table.quoted} WHERE {q(table.tenant)} = %s LIMIT 1", [move.tenant])
    ]
    if there:
        yield Finding(
            True,
            f"The target already holds rows of this tenant ({', '.join(there)}). Find out whose they are; discard what an "
            "earlier move left.",
        )


def _foreign_keys(
    move: Move, source: Database, target: Database, moved: list[Moved], datamap: DataMap
) -> Iterator[Finding]:
    """Rows that point to another tenant's, or to a table that does not move and lacks the row on the target."""
    known = {table.name: table for table in moved}
    catalog = source.catalog(datamap.relations.schema)
    for key in catalog.foreign_keys:
        child, parent = known.get(key.child), known.get(key.parent)
        if child is None:
            if parent is not None:
                yield Finding(
                    True,
                    f"Table {key.child} points to {key.parent} and does not move. Put it into the data map.",
                )
            continue
        join = " AND ".join(
            f"p.{q(b)} = c.{q(a)}" for a, b in zip(key.columns, key.parent_columns, strict=True)
        )
        if parent is not None:
            leaving = source.one(
                f"SELECT count(*) FROM {child.quoted} c JOIN {parent.quoted} p ON {join} "
                f"WHERE c.{q(child.tenant)} = %(t)s AND p.{q(parent.tenant)} <> %(t)s "
                f"OR p.{q(parent.tenant)} = %(t)s AND c.{q(child.tenant)} <> %(t)s",
                {"t": move.tenant},
            )
            if leaving:
                yield Finding(
                    True,
                    f"{leaving} rows of {key.child} and {key.parent} belong to different tenants; they can't part.",
                )
            continue
        columns = ", ".join(f"c.{q(a)}::text" for a in key.columns)
        wanted = source.rows(
            f"SELECT DISTINCT {columns} FROM {child.quoted} c WHERE c.{q(child.tenant)} = %s AND c.{q(key.columns[0])} IS NOT NULL",
            [move.tenant],
        )
        where = " AND ".join(f"{q(b)}::text = %s" for b in key.parent_columns)
        missing = sum(
            target.one(f"SELECT 1 FROM {catalog.quoted(key.parent)} WHERE {where}", list(row)) is None
            for row in wanted
        )
        if missing:
            yield Finding(
                True,
                f"{missing} rows of {key.parent}, which does not move, are missing on the target; {key.child} points to them.",
            )


def _truncating(move: Move, source: Database, target: Database, moved: list[Moved]) -> Iterator[Finding]:
    for here, region, there in (
        (source, move.source.region, target),
        (target, move.target.region, source),
    ):
        names = [
            row[0]
            for row in here.rows(
                "SELECT DISTINCT p.pubname::text FROM pg_publication p JOIN pg_publication_tables t USING (pubname) "
                "WHERE p.pubtruncate AND t.schemaname = %s AND t.tablename = ANY(%s)",
                [moved[0].schema, [t.name for t in moved]],
            )
        ]
        for name in names:
            used = there.one("SELECT 1 FROM pg_subscription WHERE %s = ANY(subpublications)", [name])
            yield Finding(
                bool(used),
                f"{region}: publication {name} publishes TRUNCATE, which ignores row filters"
                + (
                    ": one on this side would empty the other's residents."
                    if used
                    else "; the other region does not follow it."
                ),
            )
        for name in [
            row[0]
            for row in here.rows(
                "SELECT DISTINCT p.pubname::text FROM pg_publication_tables p WHERE p.schemaname = %s AND p.tablename = ANY(%s) "
                "AND (p.rowfilter IS NULL OR position(quote_literal(%s) IN p.rowfilter) > 0)",
                [moved[0].schema, [t.name for t in moved], move.tenant],
            )
        ]:
            if there.one("SELECT 1 FROM pg_subscription WHERE %s = ANY(subpublications)", [name]):
                yield Finding(
                    True,
                    f"{region}: publication {name} already sends this tenant's rows to the other region.",
                )


def _transactions(move: Move, source: Database) -> Iterator[Finding]:
    age = source.one(
        "SELECT max(extract(epoch FROM clock_timestamp() - xact_start))::int FROM pg_stat_activity "
        "WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
    )
    if age and age > LONG_S:
        yield Finding(True, f"A write transaction is open for {age} s; a slot waits for it. End it first.")
    elif age and age > 10:
        yield Finding(False, f"A write transaction is open for {age} s; the copy begins after it.")
    prepared = source.one("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()")
    if prepared:
        yield Finding(True, f"{prepared} prepared transactions are open; a slot waits for them. Finish them.")
    ceiling = source.one("SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")
    if int(ceiling) < 0:
        yield Finding(
            False,
            f"{move.source.region}: max_slot_wal_keep_size has no limit: a follower that stays away fills the disk.",
        )


def _views_and_objects(
    move: Move, source: Database, moved: list[Moved], datamap: DataMap
) -> Iterator[Finding]:
    ceiling = int(source.one("SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'"))
    size = 0
    for table in moved:
        rows = int(
            source.one(f"SELECT count(*) FROM {table.quoted} WHERE {q(table.tenant)} = %s", [move.tenant])
        )
        whole = source.rows(
            "SELECT pg_total_relation_size(oid), greatest(reltuples, 1) FROM pg_class WHERE oid = %s::regclass",
            [table.quoted.replace("%%", "%")],
        )[0]
        size += int(whole[0] * min(1.0, rows / whole[1]))
    if 0 <= ceiling * 1024 * 1024 < 2 * size:
        yield Finding(
            True,
            f"max_slot_wal_keep_size ({ceiling} MB) is less than twice the tenant's {size >> 20} MB: the slot could lose its log.",
        )
    for table in moved:
        if table.large_object:
            count = source.one(
                f"SELECT count({q(table.large_object)}) FROM {table.quoted} WHERE {q(table.tenant)} = %s",
                [move.tenant],
            )
            if count:
                yield Finding(
                    False,
                    f"{count} large objects of {table.name} are copied and get numbers of the target; no stream carries "
                    "them, what is written to them while moving follows with each comparison.",
                )
    for view in datamap.relations.views:
        yield Finding(
            False,
            f"Materialised view {view} is refreshed on the target after the copy, and on the source at the end.",
        )
