"""One connection to a region's database that never waits longer than it is told.

A stopped server answers nothing, and limits that the server keeps (statement_timeout) don't help against that: here
the client counts. A line that ran out of time is closed; what it had sent may still be carried out when the server
wakes, so everything sent through here must be harmless by then (conditional on an epoch, with absolute times).
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Sequence
from typing import Any

import psycopg2
from psycopg2 import extensions

from lifecycle.systems.base import Transient

_LIMITS = (
    "-c statement_timeout=5000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=2000"
    " -c transaction_timeout=8000 -c synchronous_commit=on -c timezone=UTC"
)


class Unreachable(Transient):
    """A region's database does not answer in time. If `sent`, the statement may still be carried out."""

    def __init__(self, sentence: str, *, sent: bool) -> None:
        super().__init__(sentence)
        self.sent = sent


class LockBusy(Transient):
    """A lock was not free in time; nothing happened."""


class Line:
    """A lazily opened connection; after an error the next call opens a new one. Use it in one thread."""

    def __init__(self, dsn: str, *, name: str = "watchdog") -> None:
        self._dsn, self._name = dsn, name
        self._connection: Any = None

    def __call__(self, statement: str, parameters: Sequence[Any] = (), *, seconds: float = 1.0) -> list[Any]:
        """Runs one statement (or several without parameters) and returns the last one's rows.

        Raises LockBusy (the transaction is open and failed: roll back), Unreachable, or psycopg2.Error for what the
        server refuses.
        """
        deadline, sent = time.monotonic() + seconds, False
        try:
            connection = self._opened(deadline)
            sent = True
            cursor = connection.cursor()
            cursor.execute(statement, parameters or None)
            self._wait(connection, deadline)
            return cursor.fetchall() if cursor.description else []
        except psycopg2.errors.LockNotAvailable:
            raise LockBusy("A lock of the tenant was not free in time.") from None
        except (psycopg2.OperationalError, psycopg2.InterfaceError, TimeoutError) as failure:
            self.close()
            raise Unreachable(
                f"A region's database did not answer ({type(failure).__name__}).", sent=sent
            ) from None
        except psycopg2.Error:
            # Outside of a transaction of ours this is a no-op with a warning.
            with contextlib.suppress(psycopg2.Error, TimeoutError):
                self._connection.cursor().execute("ROLLBACK")
                self._wait(self._connection, deadline + 0.5)
            raise

    def close(self) -> None:
        """Closes the connection if there is one."""
        if self._connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self._connection.close()
            self._connection = None

    def _opened(self, deadline: float) -> Any:
        if self._connection is None or self._connection.closed:
            connection: Any = psycopg2.connect(
                self._dsn,
                async_=1,
                options=_LIMITS,
                application_name=self._name,
            )
            try:
                self._wait(connection, deadline)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    @staticmethod
    def _wait(connection: Any, deadline: float) -> None:
        while True:
            state = connection.poll()
            if state == extensions.POLL_OK:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            descriptor = connection.fileno()
            reading = [descriptor] if state == extensions.POLL_READ else []
            writing = [descriptor] if state == extensions.POLL_WRITE else []
            select.select(reading, writing, [], left)
