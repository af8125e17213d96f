"""Connections to the region's database, and the statements of the service."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from demo.service.stores import Document
from lifecycle.participation import digests

IDLE = 32


def connect(dsn: str) -> Connection:
    """A new connection that gives up instead of waiting long."""
    return psycopg2.connect(
        dsn, connect_timeout=2, options="-c statement_timeout=8000", keepalives_idle=2, tcp_user_timeout=4000
    )


class Reading:
    """Transactions that only read; idle connections are kept."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """A cursor; a connection that fails is dropped, with the idle ones beside it: the server was restarted."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or connect(self._dsn)
        try:
            with connection.cursor() as cursor:
                yield cursor
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            with self._lock:
                self._idle.clear()
            raise
        finally:
            with suppress(psycopg2.Error):  # closed below
                connection.rollback()
            with self._lock:
                if not connection.closed and len(self._idle) < IDLE:
                    self._idle.append(connection)
                else:
                    connection.close()


def insert(cursor: Any, document: Document) -> None:
    """The rows of a new document."""
    cursor.execute(
        "INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256) VALUES (%s, %s, %s, %s, %s, %s)",
        [
            document.tenant,
            document.id,
            document.user,
            document.title,
            document.key,
            digests.of_object(document.text.encode()),
        ],
    )
    cursor.execute(
        "INSERT INTO chunks (document_id, position, body, embedding) VALUES (%s, 0, %s, %s)",
        [document.id, document.text, json.dumps(document.values)],
    )


def delete(cursor: Any, tenant: str, document: str) -> str | None:
    """Removes the rows of a document; returns its object's key, None where there is no such document."""
    cursor.execute(
        "SELECT s3_key FROM documents WHERE tenant_id = %s AND id = %s FOR UPDATE", [tenant, document]
    )
    row = cursor.fetchone()
    if row is None:
        return None
    for statement in (
        "DELETE FROM highlights WHERE chunk_id IN (SELECT id FROM chunks WHERE document_id = %s)",
        "DELETE FROM chunks WHERE document_id = %s",
        "DELETE FROM access_controls WHERE document_id = %s",
        "DELETE FROM documents WHERE id = %s",
    ):
        cursor.execute(statement, [document])
    return str(row[0])


def listed(cursor: Any, tenant: str, limit: int = 100) -> list[dict[str, str]]:
    """The newest documents that users may see."""
    cursor.execute(
        "SELECT id, title FROM documents WHERE tenant_id = %s AND NOT hidden ORDER BY created_at DESC, id LIMIT %s",
        [tenant, limit],
    )
    return [{"id": row[0], "title": row[1]} for row in cursor.fetchall()]


def texts(cursor: Any, tenant: str, documents: list[str]) -> list[tuple[str, str]]:
    """(document, text) of those that are there, in the given order."""
    cursor.execute(
        "SELECT d.id, c.body FROM chunks c JOIN documents d ON d.id = c.document_id "
        "WHERE d.tenant_id = %s AND NOT d.hidden AND d.id = ANY(%s) ORDER BY array_position(%s, d.id), c.position",
        [tenant, documents, documents],
    )
    return [(str(row[0]), str(row[1])) for row in cursor.fetchall()]
