"""Keys and pseudonyms of people in archives: a thin reader of the one key store, by the folder that the place names.

The names and pseudonyms are those of `compliance.pseudonyms` (which needs Django settings; this does not).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from compliance.keystore import KeyDestroyed, KeyMissing, KeyStore
from lifecycle.systems.backups.layout import quoted
from lifecycle.systems.base import Permanent


class Keys:
    """Keys by name. `person/T/PSEUDONYM` seals what is a person's, `archive/T` what is nobody's."""

    def __init__(self, place: Mapping[str, str]) -> None:
        if not place.get("keystore"):
            raise Permanent(
                "The backups of this environment name no key store. Give the folder as `keystore`."
            )
        self.store = KeyStore(place["keystore"])

    def pseudonym(self, tenant: str, user: str | None) -> str:
        """Of a user of a tenant, "" where there is no user."""
        return self._hmac("pseudonyms", "user", tenant, user) if user else ""

    def ledger(self, tenant: str, identifier: str) -> str:
        """What the erasure ledger keeps of an identifier."""
        return self._hmac("ledger", tenant, identifier)

    def name(self, tenant: str, person: str) -> str:
        """The name of the key of a person's parts; of nobody's parts where `person` is ""."""
        return f"person/{quoted(tenant)}/{person}" if person else f"archive/{quoted(tenant)}"

    def names(self, tenant: str) -> list[str]:
        """Names of every key of the tenant's archives that can be had."""
        own = [name for name in (self.name(tenant, ""),) if self.store.exists(name)]
        return [*self.store.names(f"person/{quoted(tenant)}/"), *own]

    def get(self, name: str) -> bytes | None:
        """The key, None where it is missing or destroyed."""
        try:
            return self.store.get(name)
        except (KeyMissing, KeyDestroyed):
            return None

    def _hmac(self, key_name: str, *parts: str) -> str:
        message = b"".join(len(raw).to_bytes(4, "big") + raw for raw in (part.encode() for part in parts))
        return hmac.new(self.store.get_or_create(key_name), message, "sha256").hexdigest()


def check_of(key: bytes) -> str:
    """16 hexadecimal characters that tell a key from its successor of the same name, and nothing of the key."""
    return hashlib.sha256(b"archive key check" + key).hexdigest()[:16]
