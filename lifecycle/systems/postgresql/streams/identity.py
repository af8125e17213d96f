"""The standing change of a platform: each table that moves gets a tenant column and a replica identity that holds it.

A publication with a row filter needs the filter's column in the replica identity, else updates of *other* tenants
fail (PostgreSQL documentation, "Row Filters"; measured). Order, each part idempotent and without a long lock:
nullable column; triggers on insert, on change of the parent key, on the parent's change of tenant; backfill in
batches; NOT NULL through a validated check; UNIQUE (tenant, key) concurrently; replica identity; then the trigger
that notes deletes of moving tenants. A table without any key gets REPLICA IDENTITY FULL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Permanent
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams import tables as moved
from lifecycle.systems.postgresql.streams.database import Database, literal
from lifecycle.systems.postgresql.streams.tables import Moved, Parent

BLOCKS = 400  # pages of a table that one batch of the backfill looks through
_NAME = 40  # of a table in a name of ours: PostgreSQL cuts names at 63 bytes

Say = Callable[[str], None]


@dataclass(slots=True)
class Prepared:
    """What `prepare` did: a sentence each, and how many rows it filled. Empty: everything was in place."""

    done: list[str] = field(default_factory=list)
    filled: int = 0


def prepare(dsn: str, datamap: DataMap, say: Say = lambda _sentence: None) -> Prepared:
    """Makes every table of the map movable. Idempotent; may be interrupted and run again; writers go on meanwhile.

    `dsn`: a role that owns the tables or may become their owner. Raises Permanent with a sentence for what it can't
    decide: rows that no parent leads to, an index that can't be unique, a database without the `lifecycle` schema.
    """
    database = Database(dsn, name="lifecycle prepare")
    try:
        if database.one("SELECT to_regclass('lifecycle.large_object')") is None:
            raise Permanent(
                "The database has no schema `lifecycle`, or an older one: install lifecycle.participation there first."
            )
        work = _Work(database, say, Prepared())
        for table in moved.read(database, datamap):
            work.prepare(table)
        return work.report
    finally:
        database.close()


@dataclass(slots=True)
class _Work:
    database: Database
    say: Say
    report: Prepared

    def prepare(self, table: Moved) -> None:
        if table.partitioned:
            raise Permanent(
                f"Table {table.name} is partitioned, which a move does not follow. Move it by other means."
            )
        self.database.rows(f"SET ROLE {q(table.owner)}")
        if table.derived:
            self._column(table)
            self._triggers(table)
        if not table.required:
            if table.derived:
                self._backfill(table)
            self._not_null(table)
        if not table.identified:
            self._identity(table)
        self._trigger(table, "lifecycle_note_delete", self._note_delete(table))
        if table.large_object:
            self._objects(table, table.large_object)
        self.database.rows("RESET ROLE")

    def _note(self, sentence: str) -> None:
        self.report.done.append(sentence)
        self.say(sentence)

    def _column(self, table: Moved) -> None:
        if table.has_column:
            return
        self.database.patient(
            f"ALTER TABLE {table.quoted} ADD COLUMN IF NOT EXISTS {q(table.tenant)} {table.tenant_type}"
        )
        self._note(f"{table.name}: column {table.tenant} added.")

    def _triggers(self, table: Moved) -> None:
        asks = f"lifecycle.{q('tenant_of_' + table.name[:_NAME])}"
        self.database.rows(_function(asks, _ask_parents(table), f"found {table.tenant_type};"))
        watched = ", ".join(q(own) for own in dict.fromkeys(own for p in table.parents for own, _ in p.pairs))
        self._trigger(
            table,
            "lifecycle_tenant",
            f"BEFORE INSERT OR UPDATE OF {watched}, {q(table.tenant)} ON {table.quoted} "
            f"FOR EACH ROW EXECUTE FUNCTION {asks}()",
        )
        for parent in table.parents:
            tells = f"lifecycle.{q('tenant_to_' + table.name[:_NAME])}"
            self.database.rows(_function(tells, _tell_children(table, parent)))
            where = f"{q(table.schema)}.{q(parent.table)}"
            column = q(parent.tenant)
            # Without a column list: a parent's own BEFORE trigger may be what changes its tenant.
            self._trigger(
                table,
                f"lifecycle_tenant_{table.name[:_NAME]}",
                f"AFTER UPDATE ON {where} FOR EACH ROW WHEN (OLD.{column} IS DISTINCT FROM NEW.{column}) "
                f"EXECUTE FUNCTION {tells}()",
                on=parent.table,
            )

    def _trigger(self, table: Moved, name: str, rest: str, on: str | None = None) -> None:
        where = on or table.name
        known = self.database.one(
            "SELECT 1 FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s AND t.tgname = %s",
            [table.schema, where, name],
        )
        if known is None:
            self.database.patient(f"CREATE TRIGGER {q(name)} {rest}")
            self._note(f"{where}: trigger {name} added.")

    def _backfill(self, table: Moved) -> None:
        """Rows from before the trigger, a run of pages at a time; ordinary triggers of the platform do not fire."""
        pages = self.database.one(
            "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint",
            [table.quoted.replace("%%", "%")],
        )
        self._quietly(True)
        try:
            filled = 0
            for first in range(0, int(pages) + 1, BLOCKS):
                for parent in table.parents:
                    filled += self._fill(table, parent, first)
            self.report.filled += filled
            if filled:
                self._note(f"{table.name}: {filled} rows filled.")
        finally:
            self._quietly(False)

    def _fill(self, table: Moved, parent: Parent, first: int) -> int:
        join = " AND ".join(f"c.{q(own)} = p.{q(theirs)}" for own, theirs in parent.pairs)
        with self.database.transaction() as cursor:
            cursor.execute(
                f"UPDATE {table.quoted} c SET {q(table.tenant)} = p.{q(parent.tenant)} "
                f"FROM {q(table.schema)}.{q(parent.table)} p WHERE {join} AND c.{q(table.tenant)} IS NULL "
                "AND c.ctid >= %s::tid AND c.ctid < %s::tid",
                [f"({first},0)", f"({first + BLOCKS},0)"],
            )
            return int(cursor.rowcount)

    def _quietly(self, on: bool) -> None:
        """Triggers off in this session, where the role may; without that right they fire and change nothing wrong."""
        if self.database.one(
            "SELECT has_parameter_privilege(session_user, 'session_replication_role', 'SET')"
        ):
            role = self.database.one("SELECT current_user")
            self.database.rows("RESET ROLE")
            self.database.rows(f"SET session_replication_role = {'replica' if on else 'origin'}")
            self.database.rows(f"SET ROLE {q(role)}")

    def _not_null(self, table: Moved) -> None:
        column = q(table.tenant)
        empty = self.database.one(f"SELECT count(*) FROM {table.quoted} WHERE {column} IS NULL")
        if empty:
            raise Permanent(
                f"{empty} rows of table {table.name} belong to no tenant. Give them a parent or a tenant, or delete them; "
                "then run the command again."
            )
        check = q(f"{table.name[:_NAME]}_tenant_there")
        self.database.patient(f"ALTER TABLE {table.quoted} DROP CONSTRAINT IF EXISTS {check}")
        self.database.patient(
            f"ALTER TABLE {table.quoted} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"
        )
        self.database.patient(f"ALTER TABLE {table.quoted} VALIDATE CONSTRAINT {check}")
        self.database.patient(f"ALTER TABLE {table.quoted} ALTER COLUMN {column} SET NOT NULL")
        self.database.patient(f"ALTER TABLE {table.quoted} DROP CONSTRAINT {check}")
        self._note(f"{table.name}: {table.tenant} is NOT NULL.")

    def _identity(self, table: Moved) -> None:
        if not table.key:
            self.database.patient(f"ALTER TABLE {table.quoted} REPLICA IDENTITY FULL")
            self._note(f"{table.name}: replica identity is the whole row.")
            return
        if table.tenant in table.key:
            self.database.patient(f"ALTER TABLE {table.quoted} REPLICA IDENTITY DEFAULT")
            self._note(f"{table.name}: replica identity is the primary key.")
            return
        index = f"{table.name[:_NAME]}_tenant_key"
        self._unique(table, index)
        self.database.patient(f"ALTER TABLE {table.quoted} REPLICA IDENTITY USING INDEX {q(index)}")
        self._note(f"{table.name}: replica identity is ({', '.join((table.tenant, *table.key))}).")

    def _unique(self, table: Moved, index: str) -> None:
        valid = self.database.one(
            "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
            [table.schema, index],
        )
        if valid is False:  # an interrupted build leaves one behind
            self.database.patient(f"DROP INDEX CONCURRENTLY {q(table.schema)}.{q(index)}")
        if not valid:
            columns = ", ".join(q(name) for name in (table.tenant, *table.key))
            self.database.rows(
                "SET lock_timeout = 0"
            )  # CONCURRENTLY waits for old transactions, blocking nobody
            self.database.rows(f"CREATE UNIQUE INDEX CONCURRENTLY {q(index)} ON {table.quoted} ({columns})")
            self.database.rows("SET lock_timeout = '4s'")

    @staticmethod
    def _note_delete(table: Moved) -> str:
        arguments = ", ".join(literal(name) for name in (table.tenant, *table.key_columns))
        return (
            f"AFTER DELETE ON {table.quoted} FOR EACH ROW EXECUTE FUNCTION lifecycle.note_delete({arguments})"
        )

    def _objects(self, table: Moved, column: str) -> None:
        """Rows that arrive name the other server's large objects: they are given ones of this server."""
        name = f"lifecycle.{q('object_of_' + table.name[:_NAME])}"
        body = _MAP_BODY.format(column=q(column), tenant=q(table.tenant))
        self.database.rows(_function(name, body, "ours oid;"))
        self._trigger(
            table,
            "lifecycle_object",
            f"BEFORE INSERT OR UPDATE ON {table.quoted} FOR EACH ROW EXECUTE FUNCTION {name}()",
        )
        enabled = self.database.one(
            "SELECT tgenabled::text FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = 'lifecycle_object'",
            [table.quoted.replace("%%", "%")],
        )
        if enabled != "R":  # only what replication brings, never what the application writes
            self.database.patient(f"ALTER TABLE {table.quoted} ENABLE REPLICA TRIGGER lifecycle_object")


_MAP_BODY = """
    IF NEW.{column} IS NOT NULL THEN
        SELECT m.here::oid INTO ours FROM lifecycle.large_object m
            WHERE m.tenant_id = NEW.{tenant}::text AND m.there = NEW.{column}::bigint;
        IF ours IS NULL THEN
            ours := lo_create(0);
            INSERT INTO lifecycle.large_object (tenant_id, there, here) VALUES (NEW.{tenant}::text, NEW.{column}::bigint, ours::bigint);
        END IF;
        NEW.{column} := ours;
    END IF;
    RETURN NEW;"""


def _function(name: str, body: str, declare: str = "") -> str:
    """A trigger function that runs as the table's owner, as a foreign key's check does."""
    begin = f"DECLARE {declare} BEGIN" if declare else "BEGIN"
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"SET search_path = pg_catalog, pg_temp AS $body$ {begin} {body} END $body$"
    )


def _ask_parents(table: Moved) -> str:
    parts = []
    for number, parent in enumerate(table.parents):
        where = " AND ".join(f"p.{q(theirs)} = NEW.{q(own)}" for own, theirs in parent.pairs)
        # KEY SHARE: a parent that is just being given to another tenant is waited for.
        ask = f"SELECT p.{q(parent.tenant)} INTO found FROM {q(table.schema)}.{q(parent.table)} p WHERE {where} FOR KEY SHARE;"
        parts.append(ask if number == 0 else f"IF found IS NULL THEN {ask} END IF;")
    return f"{' '.join(parts)} NEW.{q(table.tenant)} := found; RETURN NEW;"


def _tell_children(table: Moved, parent: Parent) -> str:
    where = " AND ".join(f"c.{q(own)} = NEW.{q(theirs)}" for own, theirs in parent.pairs)
    return (
        f"UPDATE {table.quoted} c SET {q(table.tenant)} = NEW.{q(parent.tenant)} WHERE {where}; RETURN NULL;"
    )
