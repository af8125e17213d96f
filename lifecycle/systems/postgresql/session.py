"""A connection of the eraser: errors as the contract names them, and transactions that end at a gate's deadline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from lifecycle.systems.base import BatchOver, Gate, Permanent, Transient

_READ_SECONDS = 120
# Text forms of keys must be the same in every session, and row security must fail loudly, never hide rows.
_SETTINGS = (
    "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'hex'; "
    "SET row_security = off; SET lock_timeout = '4s'; SET cursor_tuple_fraction = 1.0; SET idle_in_transaction_session_timeout = '300s'; "
    f"SET statement_timeout = '{_READ_SECONDS}s'"
)
_PAST_DEADLINE = "57014"  # query_canceled: the same answer as a statement's own timeout


def q(name: str) -> str:
    """An SQL identifier, quoted; safe inside psycopg2's templates."""
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'


def plain(quoted: str) -> str:
    """A quoted identifier for a statement without parameters."""
    return quoted.replace("%%", "%")


def array(values: list[Any]) -> str:
    """The text of a PostgreSQL array; one literal parses far faster than thousands of parameters."""
    if values and set(map(type, values)) == {str}:
        joined = "".join(values)
        if '"' not in joined and "\\" not in joined:  # nothing to escape: several times faster
            return '{"' + '","'.join(values) + '"}'
    return "{" + ",".join(_element(value) for value in values) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


class Session:
    """Connections of one eraser to one database: `read` pages with server-side cursors, `write` destroys."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._open: dict[str, Connection] = {}

    def connection(self, use: str = "write") -> Connection:
        """The connection for one use, made at first need. Raises Transient when the server does not answer."""
        known = self._open.get(use)
        if known is not None and not known.closed:
            return known
        try:
            made = psycopg2.connect(self._dsn, connect_timeout=5, application_name="lifecycle-eraser")
        except psycopg2.OperationalError:
            raise Transient("PostgreSQL does not answer. Is the server up, and the address right?") from None
        with made.cursor() as cursor:
            cursor.execute(_SETTINGS)
        made.commit()
        self._open[use] = made
        return made

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def end(self, use: str) -> None:
        """Ends one use's transaction and connection: an old snapshot would keep dead rows from being vacuumed."""
        connection = self._open.pop(use, None)
        if connection is not None:
            connection.close()

    @contextmanager
    def transaction(self, use: str = "write") -> Iterator[Cursor]:
        """A transaction, committed at the end; for work that destroys nothing of anybody's."""
        connection = self.connection(use)
        with translated(), connection, connection.cursor() as cursor:
            yield cursor

    @contextmanager
    def batch(self, gate: Gate, use: str = "write") -> Iterator[Cursor]:
        """A destructive transaction: the server ends it at the gate's deadline, and commits only before it.

        The gate is asked before the commit; until then nothing is destroyed.
        """
        connection = self.connection(use)
        left = max(1, int(gate.remaining() * 1000))
        try:
            with translated(gate), connection.cursor() as cursor:
                cursor.execute(_limits(connection.server_version, left))
                yield cursor
                gate.check()
                # One message: a client stopped between the check and the commit sends neither.
                cursor.execute(_commit_before(gate))
        finally:
            # After the commit above this does nothing; on a broken connection it can't.
            with suppress(psycopg2.Error):
                connection.rollback()

    @contextmanager
    def outside_transaction(self, milliseconds: int) -> Iterator[Cursor]:
        """VACUUM and REFRESH CONCURRENTLY: statements of their own, each bounded by `milliseconds`."""
        connection = self.connection("maintenance")
        connection.rollback()
        connection.autocommit = True
        with translated(), connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = {milliseconds}")
            yield cursor


def _limits(version: int, left: int) -> str:
    limits = f"SET LOCAL statement_timeout = {left}; SET LOCAL idle_in_transaction_session_timeout = {left}"
    return f"{limits}; SET LOCAL transaction_timeout = {left}" if version >= 170000 else limits


def _commit_before(gate: Gate) -> str:
    deadline = gate.deadline.isoformat()
    return (
        "DO $$ BEGIN IF clock_timestamp() >= "
        f"'{deadline}'::timestamptz THEN RAISE EXCEPTION 'past the deadline' USING ERRCODE = '{_PAST_DEADLINE}'; "
        "END IF; END $$; COMMIT"
    )


@contextmanager
def translated(gate: Gate | None = None) -> Iterator[None]:
    """Driver errors as Transient, Permanent or BatchOver; no text of the server's goes on, it may quote values."""
    try:
        yield
    except (errors.QueryCanceled, errors.IdleInTransactionSessionTimeout):
        if gate is not None:
            raise BatchOver("The batch reached its deadline in PostgreSQL.") from None
        raise Transient("PostgreSQL took too long for one statement.") from None
    except (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure):
        raise Transient("Rows are locked by another transaction of PostgreSQL; it is tried again.") from None
    except errors.InsufficientPrivilege:
        raise Permanent(
            "PostgreSQL refuses for lack of privileges: grant the role its rights on every table."
        ) from None
    except (
        errors.ForeignKeyViolation,
        errors.UniqueViolation,
        errors.NotNullViolation,
        errors.CheckViolation,
    ) as error:
        raise Permanent(_constraint(error)) from None
    except errors.InvalidTextRepresentation:
        raise Permanent(
            "A value of the data map or a key does not fit its column's type in PostgreSQL."
        ) from None
    except errors.ConfigurationLimitExceeded:
        raise Transient(
            "PostgreSQL has no free replication slot or origin; it is tried again. End moves, or raise max_replication_slots "
            "(from 18 on also max_active_replication_origins)."
        ) from None
    except psycopg2.OperationalError:
        if gate is not None and gate.remaining() <= 0:
            raise BatchOver("The batch reached its deadline in PostgreSQL.") from None
        raise Transient("The connection to PostgreSQL broke.") from None
    except psycopg2.InterfaceError:
        raise Transient("The connection to PostgreSQL is closed.") from None
    except psycopg2.Error as error:
        raise Permanent(f"PostgreSQL refuses a statement (SQLSTATE {error.pgcode}).") from None


def _constraint(error: psycopg2.Error) -> str:
    where = error.diag
    return (
        f"Constraint {where.constraint_name or where.column_name} of table {where.table_name} forbids the change. "
        "Correct the data map: name the column under `detach`, `via` or `set`."
    )


def place_dsn(place: Mapping[str, str], name: str) -> str:
    """The address under `name`. Raises Permanent with a sentence when the environment lacks it."""
    if not place.get(name):
        raise Permanent(
            f"The environment has no {name!r} for postgresql: set it in the environment's settings."
        )
    return place[name]
