"""The freeze of a subject, where the platform itself looks (a table that the data map names)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import psycopg2
from psycopg2 import sql

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Subject, Transient


def freeze_hash(tenant: str, user: str | None) -> str:
    """What stands for a frozen subject: SHA-256 of `tenant/user`, or of `tenant/` for a whole tenant."""
    return hashlib.sha256(f"{tenant}/{user or ''}".encode()).hexdigest()


def freeze(place: Mapping[str, str], datamap: DataMap, subject: Subject) -> bool:
    """Freezes the subject; False where the map names no table for it. Idempotent."""
    return _write(
        place,
        datamap,
        "INSERT INTO {table} ({column}) VALUES (%s) ON CONFLICT ({column}) DO NOTHING",
        freeze_hash(subject.tenant, subject.user),
    )


def thaw(place: Mapping[str, str], datamap: DataMap, subject: Subject) -> bool:
    """Lets the subject go again (a request that was cancelled); idempotent."""
    return _write(
        place, datamap, "DELETE FROM {table} WHERE {column} = %s", freeze_hash(subject.tenant, subject.user)
    )


def _write(place: Mapping[str, str], datamap: DataMap, statement: str, value: str) -> bool:
    where = datamap.relations.freeze
    if where is None:
        return False
    text = sql.SQL(statement).format(
        table=sql.Identifier(datamap.relations.schema, where.table), column=sql.Identifier(where.column)
    )
    try:
        connection = psycopg2.connect(place["dsn"], connect_timeout=5, options="-c statement_timeout=10000")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(text, [value])
        finally:
            connection.close()
    except psycopg2.OperationalError:
        raise Transient("PostgreSQL does not answer, so the subject can't be frozen yet.") from None
    return True
