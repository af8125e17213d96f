"""PostgreSQL: looks again with other code and a read-only role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Entry, Hit, Item, Page, Permanent, Scope
from lifecycle.systems.postgresql import neighbours
from lifecycle.systems.postgresql.claims import Reader
from lifecycle.systems.postgresql.recheck import Recheck
from lifecycle.systems.postgresql.sight import Sight
from lifecycle.systems.postgresql.sweep import Sweep


def connect(place: Mapping[str, str], datamap: DataMap) -> PostgresqlVerifier:
    """A verifier of the database at `place["reader_dsn"]`."""
    if not place.get("reader_dsn"):
        raise Permanent(
            "The environment has no 'reader_dsn' for postgresql: the verifier needs a read-only role."
        )
    return PostgresqlVerifier(Sight(place["reader_dsn"], datamap))


class PostgresqlVerifier:
    """See `lifecycle.systems.base.Verifier`."""

    name = "postgresql"

    def __init__(self, sight: Sight) -> None:
        self.sight = sight

    @property
    def method(self) -> str:
        version = self.sight.connection.server_version
        return (
            f"PostgreSQL {version // 10000}.{version % 10000}, read-only role: every key of the manifest read again; "
            "every text, JSON, bytea and array column of every table and materialised view, and every large object, "
            "searched for the subject's identifiers in all spellings; planner statistics and pg_stat_statements are "
            "readable by superusers only and not searched"
        )

    def remaining(self, scope: Scope, items: Sequence[Item]) -> list[Item]:
        return Recheck(self.sight, Reader(self.sight, scope)).remaining(items)

    def search(self, scope: Scope, cursor: Any) -> Page[Hit]:
        return Sweep(self.sight, Reader(self.sight, scope)).page(cursor)

    def bystanders(self, scope: Scope) -> Iterator[Entry]:
        return neighbours.entries(self.sight, Reader(self.sight, scope))

    def close(self) -> None:
        self.sight.close()
