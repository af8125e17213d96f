"""The signed daily head of the audit chain: made by our key, kept under Object Lock, checked with the chain."""

from __future__ import annotations

from datetime import date

from compliance import audit
from compliance.certificate import openpgp, signing, store
from compliance.models import AuditHead


def sign(day: date) -> AuditHead | None:
    """Signs and stores the head of `day` (UTC) once; None where nothing was recorded until then."""
    signer = signing.default()
    return audit.sign_head(day, sign=signer.sign, fingerprint=signer.fingerprint, store=store.put_head)


def verify() -> list[str]:
    """Every break of the chain, its heads and their signatures as a sentence; empty where all is genuine.

    Signatures are checked against the key of the settings, whatever a row says of itself.
    """
    signer = signing.default()
    known = signer.keys()
    keys = {key.fingerprint: key for key in known}

    def genuine(document: bytes, signature: str, fingerprint: str) -> bool:
        key = keys.get(fingerprint)
        if key is None or fingerprint != signer.fingerprint:
            return False
        try:
            openpgp.check(openpgp.read_signature(signature.encode()), key, document)
        except ValueError:
            return False
        return True

    return audit.verify(genuine)
