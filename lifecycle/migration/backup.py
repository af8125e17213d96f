"""The backup before blue is destroyed: every row of the tenant, sealed under its person's key, opened again and counted.

Objects are not in it: green holds each version of them, verified by reading back, and so does the provider's versioning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2

from lifecycle import places, tenants
from lifecycle.datamap.model import DataMap
from lifecycle.migration import movers
from lifecycle.models import Migration
from lifecycle.systems.backups import archive
from lifecycle.systems.backups.catalogue import Catalogue
from lifecycle.systems.backups.layout import Row
from lifecycle.systems.base import Permanent
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams import tables
from lifecycle.systems.postgresql.streams.database import Database
from lifecycle.systems.postgresql.streams.tables import Moved

_AT_ONCE = 2_000
_DEEPEST = 5


def take(migration: Migration, beat: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Archives the tenant's rows from their owner; an archive that stands is only checked. Raises Permanent where it can't
    be opened again, or where the environment has no place for archives."""
    target = movers.target_of(migration)
    if "postgresql" not in movers.of(migration):
        return {"rows": 0}
    if "backups" not in target.places:
        raise Permanent(
            f"Environment {target.pk} has no place for archives (backups), so blue is not cleared. Name one."
        )
    catalogue = archive.connect(places.place(target, "backups"))
    name = f"move-{movers.move_id(migration)}"
    made = catalogue.manifest(migration.tenant_id, name)
    if made is None:
        rows = _rows(movers.mover_dsn(target), migration.tenant_id, tenants.current_map(), catalogue, beat)
        made = archive.create(catalogue, migration.tenant_id, rows, archive=name)
    written = sum(part.rows for part in made.parts)
    opened = sum(1 for _ in archive.restore(catalogue, made))
    if opened != written:
        raise Permanent(f"The archive {name} gives back {opened} rows of {written}, so blue is not cleared.")
    return {"archive": name, "rows": written, "left_out": made.left_out}


def _rows(
    dsn: str, tenant: str, datamap: DataMap, catalogue: Catalogue, beat: Callable[[], None]
) -> Iterator[Row]:
    database = Database(dsn)
    try:
        moved = {each.name: each for each in tables.read(database, datamap)}
    finally:
        database.close()
    users = {each.name: each.user for each in datamap.relations.tables}
    category = {each.name: each.category for each in datamap.relations.tables}
    with closing(
        psycopg2.connect(dsn, connect_timeout=10, application_name="lifecycle backup")
    ) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        for table in moved.values():
            with connection.cursor(name=f"backup_{table.name}"[:60]) as cursor:
                cursor.itersize = _AT_ONCE
                cursor.execute(statement(table, moved, users), [tenant])
                for number, (text, user) in enumerate(cursor):
                    if number % _AT_ONCE == 0:
                        beat()
                    person = catalogue.keys.pseudonym(tenant, user)
                    yield Row(person, category[table.name], table.name, str(text).encode())


def statement(table: Moved, moved: dict[str, Moved], users: dict[str, str | None]) -> str:
    """Each row of a table as JSON, and the user whose row it is: by its own column, else by its parents'."""
    joins: list[str] = []
    names = _user(table, "t", moved, users, joins, 0)
    user = f"coalesce({', '.join(f'{each}::text' for each in names)})" if names else "NULL"
    return (
        f"SELECT to_jsonb(t)::text, {user} FROM {table.quoted} t {' '.join(joins)} "  # noqa: S608  (names of the data map, quoted)
        f"WHERE t.{q(table.tenant)} = %s"
    )


def _user(
    table: Moved,
    alias: str,
    moved: dict[str, Moved],
    users: dict[str, str | None],
    joins: list[str],
    depth: int,
) -> list[str]:
    if column := users.get(table.name):
        return [f"{alias}.{q(column)}"]
    found: list[str] = []
    for parent in table.parents if depth < _DEEPEST else ():
        if parent.table not in moved:
            continue
        above, there = f"t{len(joins) + 1}", moved[parent.table]
        on = " AND ".join(f"{above}.{q(theirs)} = {alias}.{q(own)}" for own, theirs in parent.pairs)
        joins.append(f"LEFT JOIN {there.quoted} {above} ON {on}")
        found += _user(there, above, moved, users, joins, depth + 1)
    return found
