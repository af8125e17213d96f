"""What the subject's rows tell: identifiers of the person, and what leads to their data in other systems."""

from __future__ import annotations

from dataclasses import replace

from psycopg2.extensions import cursor as Cursor

from lifecycle.datamap.model import Handling, Table
from lifecycle.systems.base import Subject
from lifecycle.systems.postgresql.catalog import Catalog
from lifecycle.systems.postgresql.ownership import FALSE, Ownership
from lifecycle.systems.postgresql.session import q

# A tenant's other systems are found by prefix and namespace; its single documents would only fill memory.
_MOST_FOR_A_TENANT = 10_000


def identify(cursor: Cursor, catalog: Catalog, own: Ownership) -> Subject:
    """The user with mails and names from the columns that the map names; a whole tenant as it is."""
    subject = own.scope.subject
    if subject.user is None:
        return subject
    mails, names = set(subject.mails), set(subject.names)
    for table in own.tables.values():
        for column in table.mails:
            mails |= _values(cursor, catalog, own, table, column)
        for column in table.names:
            names |= _values(cursor, catalog, own, table, column)
    return replace(subject, mails=tuple(sorted(mails)), names=tuple(sorted(names)))


def anchors(cursor: Cursor, catalog: Catalog, own: Ownership) -> dict[str, tuple[str, ...]]:
    """Ids and keys by kind (`documents`, `s3_keys` ...); for a user also `twins` and `namesakes` (see needles)."""
    found: dict[str, set[str]] = {}
    most = _MOST_FOR_A_TENANT if own.scope.subject.user is None else None
    for table in own.tables.values():
        columns = dict(table.anchor_columns)
        if table.anchor:
            primary = catalog.relation(table.name).primary
            columns[primary[0] if primary else table.key[0]] = table.anchor
        for column, kind in columns.items():
            found.setdefault(kind, set()).update(_values(cursor, catalog, own, table, column, most))
    if own.scope.subject.user is not None:
        found["twins"] = _twins(cursor, catalog, own)
        found["namesakes"] = _namesakes(cursor, catalog, own)
    return {kind: tuple(sorted(values)) for kind, values in sorted(found.items())}


def _values(
    cursor: Cursor, catalog: Catalog, own: Ownership, table: Table, column: str, most: int | None = None
) -> set[str]:
    mine = own.mine(table, "a")
    if mine == FALSE:
        return set()
    limit = f" LIMIT {most + 1}" if most else ""
    cursor.execute(
        f"SELECT DISTINCT a.{q(column)}::text FROM {catalog.quoted(table.name)} a "
        f"WHERE {mine} AND a.{q(column)} IS NOT NULL{limit}",
        own.params,
    )
    values = {row[0] for row in cursor.fetchall() if row[0]}
    return set() if most and len(values) > most else values


def _people(own: Ownership) -> list[Table]:
    """Tables with a row per person; where the map knows none, every table with a user column."""
    with_users = [t for t in own.tables.values() if t.tenant and t.user and t.handling is not Handling.KEEP]
    return [table for table in with_users if table.mails or table.names] or with_users


def _twins(cursor: Cursor, catalog: Catalog, own: Ownership) -> set[str]:
    """Ids of other users that contain the subject's id."""
    found: set[str] = set()
    for table in _people(own):
        user = f"a.{q(table.user or '')}::text"
        cursor.execute(
            f"SELECT DISTINCT {user} FROM {catalog.quoted(table.name)} a WHERE {user} <> %(user)s "
            f"AND strpos(lower({user}), lower(%(user)s)) > 0 LIMIT 1000",
            own.params,
        )
        found |= {row[0] for row in cursor.fetchall()}
    return found


def _namesakes(cursor: Cursor, catalog: Catalog, own: Ownership) -> set[str]:
    """Other tenants with rows of a user of the same id, in whatever mapped table: an erased one's may be retained."""
    found: set[str] = set()
    for table in own.tables.values():
        for tenant, joins in _tenants(catalog, own, table, "a"):
            for column in filter(None, (table.user, *table.detach)):
                named = own.names_user(table, "a", column)
                if named == FALSE:
                    continue
                cursor.execute(
                    f"SELECT DISTINCT {tenant} FROM {catalog.quoted(table.name)} a {joins} "
                    f"WHERE {named} AND {tenant} <> %(tenant)s LIMIT 100",
                    own.params,
                )
                found |= {row[0] for row in cursor.fetchall()}
    return found


def _tenants(catalog: Catalog, own: Ownership, table: Table, a: str) -> list[tuple[str, str]]:
    """SQL of the tenant of the row `a`, with the joins that lead to it: its own column, else those of its parents."""
    if table.tenant:
        return [(f"{a}.{q(table.tenant)}::text", "")]
    found = []
    for parent, column in table.via:
        if parent not in own.tables:
            continue
        p = own.alias()
        pairs = catalog.link(table.name, column, parent)
        on = " AND ".join(f"{p}.{q(other)} = {a}.{q(mine)}" for mine, other in pairs)
        join = f"JOIN {catalog.quoted(parent)} {p} ON {on}"
        found += [
            (tenant, f"{join} {more}") for tenant, more in _tenants(catalog, own, own.tables[parent], p)
        ]
    return found
