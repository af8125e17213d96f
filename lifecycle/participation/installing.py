"""Installs the tables and functions of participation in one region's database."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import psycopg2

SCHEMA = Path(__file__).with_name("schema.sql")
_LOCK = 7302


def install(dsn: str, region: str) -> None:
    """Schema `lifecycle` in the database behind `dsn`, which is `region`'s. Idempotent; nothing runs where it stands.

    The role needs CREATE on the database and becomes the owner. Raises ValueError for another region's database.
    """
    text = SCHEMA.read_text()
    mark = f"lifecycle.participation {hashlib.sha256(text.encode()).hexdigest()}"
    with (
        closing(psycopg2.connect(dsn, connect_timeout=10)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute(
            "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'lifecycle'"
        )
        if cursor.fetchone() != (mark,):
            cursor.execute(text)
            cursor.execute("COMMENT ON SCHEMA lifecycle IS %s", [mark])
        cursor.execute("INSERT INTO lifecycle.here (region) VALUES (%s) ON CONFLICT DO NOTHING", [region])
        cursor.execute("SELECT region FROM lifecycle.here")
        found = cursor.fetchone()
    if found != (region,):
        raise ValueError(
            f"This database says it is {found[0] if found else 'no region'}, not {region}. Check the address."
        )
