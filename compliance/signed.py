"""A person's own request, signed: detached Ed25519 over canonical JSON of {tenant, user, regime, received_at}."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def message(tenant: str, user: str, regime: str, received_at: datetime) -> bytes:
    """What is signed; the time in UTC with whole seconds, as 2026-11-25T19:00:00Z."""
    moment = received_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return rfc8785.dumps({"tenant": tenant, "user": user, "regime": regime, "received_at": moment})


def genuine(signature: str, signed: bytes, keys: Iterable[Ed25519PublicKey]) -> bool:
    """True where one of `keys` made the signature (64 bytes in base64 or hexadecimal)."""
    raw = _decoded(signature)
    if raw is None:
        return False
    for key in keys:
        try:
            key.verify(raw, signed)
        except InvalidSignature:
            continue
        return True
    return False


def public_keys(pems: Iterable[str]) -> Iterator[Ed25519PublicKey]:
    """The Ed25519 keys among these PEM texts; empty texts and keys of another kind are left out."""
    for pem in pems:
        if not pem.strip():
            continue
        try:
            key = load_pem_public_key(pem.encode())
        except ValueError:
            continue
        if isinstance(key, Ed25519PublicKey):
            yield key


def platform_keys() -> list[str]:
    """The PEM texts behind the setting REQUEST_PUBLIC_KEYS, which names files or holds the texts."""
    texts = []
    for entry in settings.REQUEST_PUBLIC_KEYS:
        if "-----BEGIN" in entry:
            texts.append(entry)
            continue
        try:
            texts.append(Path(entry).read_text())
        except OSError:
            raise ImproperlyConfigured(
                "REQUEST_PUBLIC_KEYS names a file that can't be read. Give PEM files."
            ) from None
    return texts


def _decoded(signature: str) -> bytes | None:
    try:
        text = signature.strip()
        raw = bytes.fromhex(text) if len(text) == 128 else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw if len(raw) == 64 else None
