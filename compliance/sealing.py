"""AES-256-GCM sealing: 12 random bytes of nonce, then ciphertext and tag; the context is associated data."""

from __future__ import annotations

import json
import os
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class SealBroken(Exception):
    """The data was changed, belongs to another context, or was sealed under another key."""


def seal(key: bytes, data: bytes, context: str) -> bytes:
    """`data` sealed under a 32-byte `key`; only the same `context` opens it again."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, data, context.encode())


def unseal(key: bytes, blob: bytes | memoryview, context: str) -> bytes:
    """The plain data; raises SealBroken."""
    raw = bytes(blob)
    try:
        return AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], context.encode())
    except (InvalidTag, ValueError):
        raise SealBroken(
            "A sealed value can't be opened: it was changed, or sealed under another key or context."
        ) from None


def seal_json(key: bytes, value: Any, context: str) -> bytes:
    """A JSON value sealed."""
    return seal(key, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), context)


def unseal_json(key: bytes, blob: bytes | memoryview, context: str) -> Any:
    """The JSON value again; raises SealBroken."""
    return json.loads(unseal(key, blob, context))
