"""Keyed pseudonyms (HMAC-SHA256, 64 hexadecimal characters): what stands for a person in our tables and the audit."""

from __future__ import annotations

import hmac
import unicodedata
from functools import lru_cache

from django.conf import settings

from compliance import keystore


@lru_cache(maxsize=8)
def _key(name: str, folder: str) -> bytes:
    return keystore.default().get_or_create(name)


def _hmac(key_name: str, *parts: str) -> str:
    # Each part with its length: ("a", "bc") and ("ab", "c") must differ.
    message = b"".join(len(raw).to_bytes(4, "big") + raw for raw in (part.encode() for part in parts))
    return hmac.new(_key(key_name, str(settings.KEYSTORE_DIR)), message, "sha256").hexdigest()


def of(kind: str, *parts: str) -> str:
    """The pseudonym of `parts` among things of one `kind`."""
    return _hmac("pseudonyms", kind, *parts)


def of_user(tenant_id: str, user: str | None) -> str:
    """Of one user of a tenant; of the tenant itself where `user` is empty. Ids are exact: `u-1` is not `U-1`."""
    return of("user", tenant_id, user) if user else of("tenant", tenant_id)


def of_mail(mail: str) -> str:
    """Of a mail address, whatever its case, Unicode form and outer spaces."""
    return of("mail", unicodedata.normalize("NFKC", mail).strip().casefold())


def ledger_hmac(tenant_id: str, identifier: str) -> str:
    """What the erasure ledger keeps of an identifier; under a key of its own, which lives as long as the last archive."""
    return _hmac("ledger", tenant_id, identifier)
