"""What the two regions' databases say about objects and vectors: `lifecycle.change` and `lifecycle.applied`.

Movers and the applier ask here what is still to be applied, hold the keys they work on, and note what they applied.
One `Ledger` is one region's database. Contract: lifecycle/participation.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from lifecycle.systems.base import Permanent, Transient

Cursor = Any  # psycopg2's cursor
LOCKS = 200  # keys held at once: each takes a place in the server's lock table


@dataclass(frozen=True, slots=True)
class Change:
    """One write of an application to a store. `key` can name a person: it is never logged."""

    store: str
    key: str = field(repr=False)
    op: str
    version: int
    sha256: str
    origin: str
    at: datetime
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much is still to be applied: keys, and seconds since the oldest was written."""

    keys: int
    seconds: float


class Connections:
    """Connections to one region's database, lent one transaction at a time. Safe in threads."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._free: list[Any] = []
        self._lock = threading.Lock()

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """A transaction; psycopg2's errors as ours, without their text, which may quote a key."""
        connection: Any = None
        try:
            with self._lock:
                connection = self._free.pop() if self._free else None
            if connection is None or connection.closed:
                connection = self._connect()
            with connection, connection.cursor() as cursor:
                yield cursor
            with self._lock:
                self._free.append(connection)
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            _end(connection)
            self.close()  # what lies idle is as broken
            raise Transient(
                "A region's database did not answer the ledger; try again when it is up."
            ) from error
        except psycopg2.ProgrammingError as error:
            _end(connection)
            raise Permanent(
                f"A region's database refuses the ledger ({error.pgcode}): install lifecycle.participation there and "
                "grant its tables to the role."
            ) from None
        except BaseException:
            _end(connection)
            raise

    def close(self) -> None:
        """Closes what lies idle."""
        with self._lock:
            free, self._free = self._free, []
        for connection in free:
            _end(connection)

    def _connect(self) -> Any:
        return psycopg2.connect(
            self._dsn,
            connect_timeout=5,
            options="-c statement_timeout=30000",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            application_name="lifecycle ledger",
        )


def tops(connections: Connections, origin: str, tenants: Sequence[str]) -> dict[str, int]:
    """The highest number of a change that `origin` made, for each tenant; 0 for none. One cheap question for all."""
    with connections.cursor() as cursor:
        cursor.execute(
            "SELECT tenant, coalesce((SELECT max(seq) FROM lifecycle.change WHERE tenant_id = tenant AND origin = %s), 0) "
            "FROM unnest(%s::text[]) tenant",
            [origin, list(tenants)],
        )
        return {str(tenant): int(top) for tenant, top in cursor.fetchall()}


class Ledger:
    """One region's `lifecycle` tables, for one tenant. Safe in threads."""

    def __init__(self, connections: Connections, tenant: str) -> None:
        self._connections, self.tenant = connections, tenant

    def pending(
        self, store: str, origin: str, floor: int = 0, limit: int = 1000, without: Sequence[str] = ()
    ) -> list[Change]:
        """The newest change per key that `origin` made and this region has not applied, oldest first.

        A key that this region itself wrote later is left out, and keys in `without`. Rows with `seq` below `floor` are
        not looked at.
        """
        with self._connections.cursor() as cursor:
            cursor.execute(
                """
                SELECT c.store, c.key, c.op, c.version, c.sha256, c.origin, c.at, c.seq
                FROM (SELECT DISTINCT ON (key) * FROM lifecycle.change
                      WHERE tenant_id = %(tenant)s AND origin = %(origin)s AND store = %(store)s AND seq >= %(floor)s
                        AND NOT EXISTS (SELECT FROM unnest(%(without)s::text[]) resting WHERE resting = key)
                      ORDER BY key, version DESC) c
                LEFT JOIN lifecycle.applied a ON a.tenant_id = c.tenant_id AND a.store = c.store AND a.key = c.key
                WHERE (a.version IS NULL OR a.version < c.version)
                  AND NOT EXISTS (SELECT FROM lifecycle.change o
                      WHERE o.tenant_id = c.tenant_id AND o.store = c.store AND o.key = c.key
                        AND o.origin <> c.origin AND o.version > c.version)
                ORDER BY c.seq LIMIT %(limit)s
                """,
                {
                    "tenant": self.tenant,
                    "origin": origin,
                    "store": store,
                    "floor": floor,
                    "without": list(without),
                    "limit": limit,
                },
            )
            return [Change(*row) for row in cursor.fetchall()]

    def waiting(self, store: str, origin: str) -> Waiting:
        """How much of what `origin` wrote is not applied here."""
        with self._connections.cursor() as cursor:
            cursor.execute(
                """
                SELECT count(DISTINCT c.key), coalesce(extract(epoch FROM clock_timestamp() - min(c.at)), 0)
                FROM lifecycle.change c
                LEFT JOIN lifecycle.applied a ON a.tenant_id = c.tenant_id AND a.store = c.store AND a.key = c.key
                WHERE c.tenant_id = %(tenant)s AND c.origin = %(origin)s AND c.store = %(store)s
                  AND (a.version IS NULL OR a.version < c.version)
                  AND NOT EXISTS (SELECT FROM lifecycle.change o
                      WHERE o.tenant_id = c.tenant_id AND o.store = c.store AND o.key = c.key
                        AND o.origin <> c.origin AND o.version > c.version)
                """,
                {"tenant": self.tenant, "origin": origin, "store": store},
            )
            keys, seconds = cursor.fetchone()
        return Waiting(int(keys), max(0.0, float(seconds)))

    def top(self, store: str, origin: str) -> int:
        """The number of the newest change of a store that `origin` made; 0 for none."""
        with self._connections.cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(max(seq), 0) FROM lifecycle.change WHERE tenant_id = %s AND origin = %s AND store = %s",
                [self.tenant, origin, store],
            )
            return int(cursor.fetchone()[0])

    def changed(self, store: str, origin: str, after: int, limit: int) -> tuple[list[str], int]:
        """Keys of the next `limit` changes that `origin` made after number `after`, each once, and the last number."""
        with self._connections.cursor() as cursor:
            cursor.execute(
                "SELECT key, seq FROM lifecycle.change WHERE tenant_id = %s AND origin = %s AND store = %s AND seq > %s "
                "ORDER BY seq LIMIT %s",
                [self.tenant, origin, store, after, limit],
            )
            rows = cursor.fetchall()
        return list(dict.fromkeys(str(key) for key, _ in rows)), int(rows[-1][1]) if rows else after

    def newest(self, store: str, keys: Sequence[str]) -> dict[str, Change]:
        """The newest change that this region knows of, by key; keys never written are left out."""
        with self._connections.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT ON (key) store, key, op, version, sha256, origin, at, seq FROM lifecycle.change "
                "WHERE tenant_id = %s AND store = %s AND key = ANY(%s) ORDER BY key, version DESC",
                [self.tenant, store, list(keys)],
            )
            return {row[1]: Change(*row) for row in cursor.fetchall()}

    def digests(self, store: str, keys: Sequence[str]) -> dict[str, set[str]]:
        """Every digest that was ever said of each key, the newest included."""
        found: dict[str, set[str]] = {}
        with self._connections.cursor() as cursor:
            cursor.execute(
                "SELECT key, sha256 FROM lifecycle.change WHERE tenant_id = %s AND store = %s AND key = ANY(%s)",
                [self.tenant, store, list(keys)],
            )
            for key, sha256 in cursor.fetchall():
                found.setdefault(key, set()).add(sha256)
        return found

    def applied(self, store: str, keys: Sequence[str]) -> dict[str, tuple[int, str]]:
        """(version, op) of what was applied here, by key."""
        with self._connections.cursor() as cursor:
            cursor.execute(
                "SELECT key, version, op FROM lifecycle.applied WHERE tenant_id = %s AND store = %s AND key = ANY(%s)",
                [self.tenant, store, list(keys)],
            )
            return {key: (int(version), str(op)) for key, version, op in cursor.fetchall()}

    @contextmanager
    def holding(self, store: str, keys: Sequence[str]) -> Iterator[Holding]:
        """Keys (at most `LOCKS`) that nobody else copies, repairs or applies meanwhile. One transaction."""
        with self._connections.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hash) FROM (SELECT DISTINCT hashtextextended(key, 4711) AS hash "
                "FROM unnest(%s::text[]) key ORDER BY 1) hashes",
                [[f"{self.tenant}\n{store}\n{key}" for key in keys]],
            )
            yield Holding(cursor, self.tenant, store)

    def owner(self) -> str | None:
        """The region that owns the tenant's writes by this database's route; None without a row."""
        with self._connections.cursor() as cursor:
            cursor.execute("SELECT owner FROM lifecycle.route WHERE tenant_id = %s", [self.tenant])
            row = cursor.fetchone()
        return None if row is None else str(row[0])

    def streams(self, move: str) -> list[str]:
        """Names of slots and subscriptions of a move that are left in this database's server."""
        pattern = "mv\\_" + move.replace("_", "\\_") + "\\_%"
        with self._connections.cursor() as cursor:
            cursor.execute(
                "SELECT slot_name::text FROM pg_replication_slots WHERE slot_name LIKE %s "
                "UNION SELECT subname::text FROM pg_stat_subscription WHERE subname LIKE %s ORDER BY 1",
                [pattern, pattern],
            )
            return [str(row[0]) for row in cursor.fetchall()]

    def forget(self, store: str) -> int:
        """Removes what was noted as applied to a store that was emptied; returns how many rows."""
        with self._connections.cursor() as cursor:
            cursor.execute(
                "DELETE FROM lifecycle.applied WHERE tenant_id = %s AND store = %s", [self.tenant, store]
            )
            return int(cursor.rowcount)

    def close(self) -> None:
        """Closes idle connections, of all who share them."""
        self._connections.close()


class Holding:
    """Keys held by a transaction: what is known of them is read and noted here."""

    def __init__(self, cursor: Cursor, tenant: str, store: str) -> None:
        self._cursor, self._tenant, self._store = cursor, tenant, store

    def known(self, keys: Sequence[str]) -> dict[str, Change]:
        """The newest change of each key in this region's database."""
        self._cursor.execute(
            "SELECT DISTINCT ON (key) store, key, op, version, sha256, origin, at, seq FROM lifecycle.change "
            "WHERE tenant_id = %s AND store = %s AND key = ANY(%s) ORDER BY key, version DESC",
            [self._tenant, self._store, list(keys)],
        )
        return {row[1]: Change(*row) for row in self._cursor.fetchall()}

    def applied(self, keys: Sequence[str]) -> dict[str, int]:
        """The version applied of each key."""
        self._cursor.execute(
            "SELECT key, version FROM lifecycle.applied WHERE tenant_id = %s AND store = %s AND key = ANY(%s)",
            [self._tenant, self._store, list(keys)],
        )
        return {key: int(version) for key, version in self._cursor.fetchall()}

    def note(self, changes: Sequence[Change]) -> None:
        """Notes changes as applied; never an older version over a newer one."""
        if changes:
            execute_values(
                self._cursor,
                "INSERT INTO lifecycle.applied AS a (tenant_id, store, key, version, op, sha256, at) VALUES %s "
                "ON CONFLICT (tenant_id, store, key) DO UPDATE SET version = excluded.version, op = excluded.op, "
                "sha256 = excluded.sha256, at = excluded.at WHERE a.version < excluded.version",
                [(self._tenant, self._store, c.key, c.version, c.op, c.sha256) for c in changes],
                template="(%s, %s, %s, %s, %s, %s, clock_timestamp())",
            )


def open_ledger(dsn: str | None, tenant: str) -> Ledger | None:
    """The ledger behind a place's `ledger_dsn`; None where the application takes no part in moves."""
    return Ledger(Connections(dsn), tenant) if dsn else None


def _end(connection: Any) -> None:
    if connection is not None:
        with suppress(psycopg2.Error):
            connection.close()
