"""Who owns a tenant's writes, as one region's database knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Route:
    """One row of `lifecycle.route`. `live`: this region owns the tenant and its lease is not over."""

    owner: str
    epoch: int
    soak: str
    other: str
    live: bool


def route(cursor: Any, tenant: str) -> Route | None:
    """The tenant's route; None where it never moved, and writes are accepted in its home region.

    For looking only: a write asks again inside its own transaction (`Participant.write`).
    """
    cursor.execute(
        "SELECT owner, epoch, soak, other, owner = lifecycle.region() AND lease_until > clock_timestamp() "
        "FROM lifecycle.route WHERE tenant_id = %s",
        [tenant],
    )
    row = cursor.fetchone()
    return None if row is None else Route(*row)


def has_arrived(cursor: Any, tenant: str, mark: str) -> bool:
    """Whether what `mark` (`Writing.mark`, "REGION:NUMBER") stands for can be read in this region: rows replicated,
    and the objects and vectors of that write applied. True for a mark of this region, and for one that is malformed."""
    origin, _, number = mark.rpartition(":")
    if not origin or not number.isdigit():
        return True
    cursor.execute(
        """
        SELECT lifecycle.region() = %(origin)s OR (
            EXISTS (SELECT FROM lifecycle.change
                    WHERE tenant_id = %(tenant)s AND origin = %(origin)s AND seq = %(seq)s)
            AND NOT EXISTS (
                SELECT FROM lifecycle.change c
                LEFT JOIN lifecycle.applied a USING (tenant_id, store, key)
                WHERE c.tenant_id = %(tenant)s AND c.origin = %(origin)s AND c.seq BETWEEN %(seq)s - 8 AND %(seq)s
                  AND coalesce(a.version, -1) < c.version))
        """,
        {"tenant": tenant, "origin": origin, "seq": int(number)},
    )
    return bool(cursor.fetchone()[0])
