"""Route rows in both regions' databases. Made before a move, kept after it: a stray writer on the old side is refused.

Owners and epochs are the watchdog's to change; here rows are made, and told that a move begins or has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg2

from lifecycle.migration import movers
from lifecycle.models import Environment, Migration
from lifecycle.systems.base import Permanent, Transient

_BEGIN = """
INSERT INTO lifecycle.route AS r (tenant_id, owner, epoch, soak, other, slot, moving)
VALUES (%(tenant)s, %(owner)s, %(epoch)s, %(soak)s, %(other)s, %(slot)s, true)
ON CONFLICT (tenant_id) DO UPDATE SET soak = excluded.soak, other = excluded.other, slot = excluded.slot, moving = true
RETURNING owner, epoch
"""
# Tombstones name rows, and rows can name people: they go with the move.
_END = """
WITH gone AS (DELETE FROM lifecycle.tombstone WHERE tenant_id = %(tenant)s)
UPDATE lifecycle.route SET moving = false, soak = 'fast', other = '', slot = '' WHERE tenant_id = %(tenant)s AND moving
"""
_HIGHEST = "SELECT coalesce(max(epoch), 0) FROM lifecycle.route WHERE tenant_id = %(tenant)s"
_OWNER = "SELECT owner, epoch FROM lifecycle.route WHERE tenant_id = %(tenant)s"
_SOAK = "UPDATE lifecycle.route SET soak = %(soak)s WHERE tenant_id = %(tenant)s"


def begin(migration: Migration) -> None:
    """Both databases say that blue owns the tenant and that it moves. Raises Permanent where one says otherwise."""
    name, ends = movers.move_id(migration), _ends(migration)
    said = {"tenant": migration.tenant_id, "owner": migration.source_region}
    epoch = max(int(_ask(each, _HIGHEST, said)[0]) for each in ends)
    source, target = ends
    for environment, other, slot in ((source, target, f"mv_{name}_fwd"), (target, source, f"mv_{name}_rev")):
        facts = {**said, "epoch": epoch, "other": other.region, "slot": slot, "soak": "fast"}
        owner, _ = _ask(environment, _BEGIN, facts)
        if owner != migration.source_region:
            raise Permanent(
                f"The database in {environment.region} says that {owner} owns the tenant, not {migration.source_region}. "
                "End the earlier move first."
            )


def soak_safely(migration: Migration) -> None:
    """From now on what green acknowledges is in both regions first; it counts once green owns the tenant."""
    _soak(migration, migration.soak)


def answer_alone(migration: Migration) -> None:
    """From now on green acknowledges without blue: before the way back goes, and blue with it."""
    _soak(migration, "fast")


def _soak(migration: Migration, soak: str) -> None:
    facts = {"tenant": migration.tenant_id, "soak": soak}
    _ask(movers.target_of(migration), _SOAK, facts, wanted=False)


def end(migration: Migration) -> None:
    """The move is over: owners stay as they are."""
    for environment in _ends(migration):
        _ask(environment, _END, {"tenant": migration.tenant_id}, wanted=False)


def owners(migration: Migration) -> dict[str, str]:
    """Who owns the tenant, as each region's database says; '' where it says nothing."""
    said = {"tenant": migration.tenant_id}
    found = {each.region: _ask(each, _OWNER, said, wanted=False) for each in _ends(migration)}
    return {region: str(row[0]) if row else "" for region, row in found.items()}


def _ends(migration: Migration) -> tuple[Environment, Environment]:
    return migration.source, movers.target_of(migration)


def _ask(
    environment: Environment, statement: str, facts: Mapping[str, Any], *, wanted: bool = True
) -> tuple[Any, ...]:
    dsn = movers.mover_dsn(environment)
    try:
        with (
            closing(psycopg2.connect(dsn, connect_timeout=5, options="-c lock_timeout=5000")) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, facts)
            row = cursor.fetchone() if cursor.description else None
    except psycopg2.errors.UndefinedTable:
        raise Permanent(
            f"The database in {environment.region} has no schema `lifecycle`: the platform takes no part in moves there. "
            "Install it with lifecycle.participation.install."
        ) from None
    except psycopg2.Error as failure:
        raise Transient(
            f"The database in {environment.region} does not answer ({type(failure).__name__})."
        ) from None
    if row is None and wanted:
        raise Transient(f"The database in {environment.region} gave no answer.")
    return row or ()
