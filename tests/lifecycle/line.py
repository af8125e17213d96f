"""One kept session of a database, for what is asked many times a second."""

from __future__ import annotations

from typing import Any

import psycopg2


class Line:
    """Opened at the first question, and again where it broke: a new session costs more than a hundred questions."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._session: psycopg2.extensions.connection | None = None

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What one statement answers, in a transaction of its own. Raises psycopg2.Error."""
        if self._session is not None:
            try:
                return self._ask(self._session, statement, values)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                self.close()
        self._session = psycopg2.connect(self._dsn)
        self._session.autocommit = True
        return self._ask(self._session, statement, values)

    def close(self) -> None:
        """Ends the session, where there is one."""
        if self._session is not None:
            self._session.close()
        self._session = None

    @staticmethod
    def _ask(
        session: psycopg2.extensions.connection, statement: str, values: tuple[Any, ...]
    ) -> list[tuple[Any, ...]]:
        with session.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()
