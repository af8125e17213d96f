"""One at a time at one provider's rules and holds: counting references and acting on the count must not interleave."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def alone(address: str) -> Iterator[None]:
    """Holds a session's advisory lock named after `address`: rows are committed inside, before anything is sent."""
    number = int.from_bytes(hashlib.sha256(f"preservation {address}".encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [number])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [number])
