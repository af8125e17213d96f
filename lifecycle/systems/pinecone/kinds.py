"""How eraser and verifier name what they find, so that one can look up the other's."""

from __future__ import annotations

import json

VECTOR, BACKUP = "vector", "backup"


def vector_key(index: str, namespace: str, vector_id: str) -> str:
    """The item key of one vector."""
    return json.dumps([index, namespace, vector_id])


def backup_key(index: str, backup: str) -> str:
    """The item key of one backup."""
    return json.dumps([index, backup])
