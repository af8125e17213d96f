"""One write transaction of a tenant: asked at its begin and at its commit whether it may, acknowledged only then."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2 import extensions

from lifecycle.participation.errors import Fenced, NotOwner, OutcomeUnknown

CONFIRM_MS = 5000
IDLE_CONNECTIONS = 32
_NOT_OWNER, _FENCED = "LM001", "LM002"
# Lock timeout; transaction timeout; ended by whoever fences. Before COMMIT each means that nothing was written.
_PASSING = ("55P03", "25P04", "57P01")


class Writing:
    """A transaction in progress. `dual`: objects and vectors must be in both regions before the block is left.

    `mark` stands, once the block was left, for the last object or vector that was noted: `routing.has_arrived` tells
    whether another region has it. Empty if there was none.
    """

    def __init__(self, cursor: Any, tenant: str, user: str, granted: tuple[Any, ...]) -> None:
        self.cursor, self.tenant, self._user = cursor, tenant, user
        self.epoch, soak, self.slot, self.lease_until, self.leased = granted
        self.dual = soak == "safe"
        self.mark = ""

    def put(self, store: str, key: str, sha256: str = "") -> int:
        """Notes that `key` of `store` ("s3": the object's key; "pinecone": JSON `[namespace, id]`) was stored with a
        content of that digest (`digests`); returns the version."""
        return self._note(store, key, "put", sha256)

    def delete(self, store: str, key: str) -> int:
        """Notes that `key` of `store` was or will be removed in this region; returns the version."""
        return self._note(store, key, "delete", "")

    def _note(self, store: str, key: str, op: str, sha256: str) -> int:
        self.cursor.execute(
            "INSERT INTO lifecycle.change (tenant_id, user_id, store, key, op, sha256, epoch) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING version, origin, seq",
            [self.tenant, self._user, store, key, op, sha256, self.epoch],
        )
        version, origin, number = self.cursor.fetchone()
        self.mark = f"{origin}:{number}"
        return int(version)


class Participant:
    """One region's side of the application. Safe in threads; `connect` makes a new connection to its database."""

    def __init__(self, region: str, connect: Callable[[], extensions.connection]) -> None:
        self.region, self._connect = region, connect
        self._idle: list[extensions.connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def write(self, tenant: str, user: str = "") -> Iterator[Writing]:
        """A transaction in which rows of `tenant` may be written; `user` is whose data it is, if one person's.

        Raises NotOwner or Fenced (nothing was written), OutcomeUnknown (answer 503), or what the block raised. Only
        when it is left without an error may the client be told that the write is kept.
        """
        connection = self._take()
        try:
            writing = self._begin(connection, tenant, user)
            try:
                yield writing
            except psycopg2.Error as error:
                raise _translated(error, connection) from error
            _commit(connection)
            _acknowledge(connection, writing)
        finally:
            self._give(connection)

    def close(self) -> None:
        """Closes the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _begin(self, connection: extensions.connection, tenant: str, user: str) -> Writing:
        cursor = connection.cursor()
        try:
            cursor.execute(
                "SELECT epoch, soak, slot, lease_until::text, isfinite(lease_until) FROM lifecycle.begin_write(%s)",
                [tenant],
            )
            granted = cursor.fetchone()
        except psycopg2.Error as error:
            raise _translated(error, connection) from error
        return Writing(cursor, tenant, user, granted or ())

    def _take(self) -> extensions.connection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect()
            if not _is_stale(connection):
                return connection
            connection.close()

    def _give(self, connection: extensions.connection) -> None:
        with suppress(psycopg2.Error):  # a broken one is closed below
            connection.rollback()
        with self._lock:
            if not connection.closed and len(self._idle) < IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


def _is_stale(connection: extensions.connection) -> bool:
    """Whether the server has said something on an idle connection: its end, as a rule. Another one serves then."""
    look = select.poll()
    look.register(connection.fileno(), select.POLLIN)
    return bool(connection.closed or look.poll(0))


def _commit(connection: extensions.connection) -> None:
    # COMMIT of a transaction that failed is answered like success, and keeps nothing.
    if connection.info.transaction_status != extensions.TRANSACTION_STATUS_INTRANS:
        raise Fenced("The transaction had failed or ended inside the block; nothing was written. Try again.")
    try:
        connection.commit()
    except psycopg2.Error as error:
        if connection.closed or error.pgcode is None:
            raise OutcomeUnknown("the connection was lost at its commit.") from error
        raise _translated(error, connection) from error


def _acknowledge(connection: extensions.connection, writing: Writing) -> None:
    """Returns only if the commit may be told. Nothing is asked for a tenant without lease and without safe soak."""
    if not (writing.leased or writing.dual):
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT lifecycle.leased(%s, %s, %s::timestamptz), pg_current_wal_flush_lsn()::text",
                [writing.tenant, writing.epoch, writing.lease_until],
            )
            leased, position = cursor.fetchone() or (False, None)
            if not leased:
                raise OutcomeUnknown("this region's lease ended meanwhile.")
            if writing.dual:
                cursor.execute(
                    "SELECT lifecycle.confirmed(%s, %s::pg_lsn, %s)", [writing.slot, position, CONFIRM_MS]
                )
                if not (cursor.fetchone() or (None,))[0]:
                    raise OutcomeUnknown("the other region has not confirmed it in time.")
    except psycopg2.Error as error:
        raise OutcomeUnknown("the database did not answer after its commit.") from error


def _translated(error: psycopg2.Error, connection: extensions.connection) -> Exception:
    """For an error before COMMIT was sent, or one with which the server refused the COMMIT."""
    if error.pgcode == _NOT_OWNER:
        return NotOwner(error.diag.message_detail or "")
    if error.pgcode == _FENCED or error.pgcode in _PASSING:
        return Fenced()
    if connection.closed:
        return Fenced("The connection ended before the commit, so nothing was written; try again.")
    return error
