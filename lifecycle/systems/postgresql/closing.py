"""What ends an erasure in PostgreSQL: copies in materialised views, and dead rows in the files."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from lifecycle.datamap.model import Handling, Relations
from lifecycle.systems.base import Gate, Permanent, Tally, Transient
from lifecycle.systems.postgresql.catalog import Catalog
from lifecycle.systems.postgresql.session import Session, plain, q

# Neither destroys anything that base rows still hold, so they may outlive a batch; a bound they need nevertheless.
_MOST_MS = 120_000

_VIEWS = """
SELECT DISTINCT v.oid, v.relname, n.nspname FROM pg_depend d
JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
  AND v.relkind = 'm' AND v.oid <> d.refobjid ORDER BY v.oid"""
_DEAD = """
SELECT name FROM pg_stat_user_tables
CROSS JOIN LATERAL (SELECT CASE schemaname WHEN %(schema)s THEN relname ELSE schemaname || '.' || relname END) n(name)
WHERE name = ANY(%(names)s) AND n_dead_tup > 0 AND coalesce(last_vacuum, '-infinity') < now() - interval '1 minute'"""


def close(
    session: Session, catalog: Catalog, relations: Relations, gate: Gate, touched: set[str], done: set[str]
) -> Tally:
    """Refreshes views, then vacuums. `done` remembers what this eraser finished, should the batch end in between."""
    tally = Tally()
    for schema, name in _views(session):
        if f"{schema}.{name}" not in done:
            gate.check()
            _refresh(session, schema, name)
            done.add(f"{schema}.{name}")
    names = [each.name for each in relations.tables if each.handling is not Handling.KEEP]
    left = set()
    for name in sorted(touched | _dirty(session, catalog.schema, names)):
        if name not in done:
            gate.check()
            left |= set() if _vacuum(session, catalog, name) else {name}
            done.add(name)
    session.end("maintenance")
    tally.detail = {
        "refreshed": sorted(each for each in done if "." in each and each not in names),
        "vacuumed": sorted(each for each in done - left if "." not in each or each in names),
        "left_to_autovacuum": sorted(left),
    }
    return tally


def _vacuum(session: Session, catalog: Catalog, name: str) -> bool:
    """Whether dead rows were removed now. A table too large or too busy for that is left to autovacuum, and named."""
    try:
        with session.outside_transaction(_MOST_MS) as cursor:
            cursor.execute(f"VACUUM {plain(catalog.quoted(name))}")
    except Transient:
        return False
    return True


def refresh_inside(cursor: Cursor, catalog: Catalog, name: str) -> int:
    """Refreshes one view inside a destructive transaction: its copy of the subject goes. Counts 1."""
    cursor.execute(f"REFRESH MATERIALIZED VIEW {plain(catalog.quoted(name))}")
    return 1


def _views(session: Session) -> list[tuple[str, str]]:
    """Every materialised view of the database that is built on a table or another view, oldest (so: base views) first."""
    with session.transaction() as cursor:
        cursor.execute(_VIEWS)
        return [(schema, name) for _, name, schema in cursor.fetchall()]


def _refresh(session: Session, schema: str, name: str) -> None:
    view = f"{q(schema)}.{q(name)}"
    with session.outside_transaction(_MOST_MS) as cursor:
        cursor.execute(
            "SELECT c.relispopulated AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique "
            "AND i.indpred IS NULL AND i.indexprs IS NULL), pg_has_role(c.relowner, 'MEMBER') "
            "FROM pg_class c WHERE c.oid = %s::regclass",
            [plain(view)],
        )
        row = cursor.fetchone() or (False, False)
        if not row[1]:
            raise Permanent(
                f"The role may not refresh materialised view {name}: make it a member of the view's owner."
            )
        cursor.execute(f"REFRESH MATERIALIZED VIEW {'CONCURRENTLY ' if row[0] else ''}{plain(view)}")


def _dirty(session: Session, schema: str, names: list[str]) -> set[str]:
    with session.transaction() as cursor:
        cursor.execute(_DEAD, {"schema": schema, "names": names})
        return {row[0] for row in cursor.fetchall()}
