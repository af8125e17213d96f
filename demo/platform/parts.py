"""What every program of the sample platform does alike: embeddings, digests, and the freeze of a subject."""

from __future__ import annotations

import hashlib
from typing import Any

from lifecycle.systems.postgresql.freeze import freeze_hash

DIMENSION = 8


class Closed(Exception):
    """The subject is frozen, or nobody is signed in. The sentence names nobody."""


def refuse_frozen(cursor: Any, tenant: str, user: str) -> None:
    """Raises Closed while an erasure holds the user or the whole tenant."""
    hashes = [freeze_hash(tenant, user), freeze_hash(tenant, None)]
    cursor.execute("SELECT 1 FROM frozen_subjects WHERE subject_hash = ANY(%s) LIMIT 1", [hashes])
    if cursor.fetchone():
        raise Closed("This account is closed, because its erasure was requested.")


def embed(text: str) -> list[float]:
    """Eight numbers above 0 that only this text has."""
    return [round((byte + 1) / 256, 4) for byte in hashlib.sha256(text.encode()).digest()[:DIMENSION]]


def digest(text: str) -> str:
    """SHA-256 as hex."""
    return hashlib.sha256(text.encode()).hexdigest()
