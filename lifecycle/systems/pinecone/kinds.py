"""How eraser and verifier name what they find, so that one can look up the other's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii

from lifecycle.systems.items import columns

VECTOR, BACKUP = "vector", "backup"


def vector_key(index: str, namespace: str, vector_id: str) -> str:
    """The item key of one vector."""
    return json.dumps([index, namespace, vector_id])


def vector_keys(index: str, namespace: str, ids: Iterable[str]) -> list[str]:
    """The item keys of many vectors of one namespace."""
    start = json.dumps([index, namespace])[:-1]
    return [f"{start}, {encode_basestring_ascii(each)}]" for each in ids]


def vector_parts(keys: Iterable[str]) -> list[tuple[str, str, str]]:
    """Index, namespace and id of many item keys. Raises ValueError where one is no vector's."""
    parts = columns(keys, 3)
    if parts is None:
        raise ValueError("The key of a vector has three parts.")
    return list(zip(*parts, strict=True))


def backup_key(index: str, backup: str) -> str:
    """The item key of one backup."""
    return json.dumps([index, backup])
