"""One connection of the mover to one database. SQL is written as a template: `%%` stands for a per cent sign."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.postgresql import catalog as catalogs
from lifecycle.systems.postgresql.catalog import Catalog
from lifecycle.systems.postgresql.session import plain, translated

Row = tuple[Any, ...]
_SETTINGS = (
    "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'hex'; "
    "SET extra_float_digits = 1; SET row_security = off; SET lock_timeout = '4s'; SET synchronous_commit = on; "
    "SET idle_in_transaction_session_timeout = '300s'"
)


def literal(value: str) -> str:
    """A text literal for templates, where a statement takes no parameters."""
    if "\0" in value:
        raise Permanent("A name holds a zero character, which PostgreSQL can't store.")
    # An E string means the same whatever standard_conforming_strings says.
    return "E'" + value.replace("\\", "\\\\").replace("'", "''").replace("%", "%%") + "'"


class Database:
    """A connection in autocommit, made at first need, used by one thread. Errors are Transient or Permanent."""

    def __init__(self, dsn: str, *, name: str = "lifecycle mover") -> None:
        self._dsn, self._name = dsn, name
        self._open: Connection | None = None

    @property
    def dsn(self) -> str:
        return self._dsn

    def connection(self) -> Connection:
        """The connection. Raises Transient when the server does not answer."""
        if self._open is not None and not self._open.closed:
            return self._open
        try:
            made = psycopg2.connect(
                self._dsn,
                connect_timeout=5,
                application_name=self._name,
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
            )
        except psycopg2.OperationalError:
            raise Transient(
                "A region's PostgreSQL does not answer. Is the server up, and the address right?"
            ) from None
        made.autocommit = True
        with translated(), made.cursor() as cursor:
            cursor.execute(_SETTINGS)
        self._open = made
        return made

    def rows(self, statement: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of one statement, a transaction of its own."""
        with translated(), self.connection().cursor() as cursor:
            return run(cursor, statement, params)

    def catalog(self, schema: str) -> Catalog:
        """Columns, keys and foreign keys of one schema."""
        with translated(), self.connection().cursor() as cursor:
            return catalogs.read(cursor, schema)

    def one(self, statement: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row; None without a row."""
        found = self.rows(statement, params)
        return found[0][0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """Several statements that happen together."""
        connection = self.connection()
        with translated(), connection.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if not connection.closed:
                    connection.rollback()
                raise

    def patient(self, statement: str, *, limit_ms: int = 200, tries: int = 60) -> None:
        """A statement that needs a strong lock: it never makes others queue behind it for longer than `limit_ms`.

        Raises Transient when the lock was never to be had.
        """
        for attempt in range(tries):
            try:
                with translated(), self.connection().cursor() as cursor:
                    cursor.execute(f"SET lock_timeout = {limit_ms}")
                    cursor.execute(plain(statement))
                    cursor.execute("SET lock_timeout = '4s'")
                return
            except Transient:
                if attempt + 1 == tries:
                    raise
                time.sleep(min(1.0, 0.05 * (attempt + 1)))

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def run(cursor: Cursor, statement: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> list[Row]:
    """Executes a template on a cursor and fetches what it returns."""
    if params is None:
        cursor.execute(plain(statement))
    else:
        cursor.execute(statement, params)
    return cursor.fetchall() if cursor.description else []
