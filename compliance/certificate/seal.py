"""The seal: one canonical JSON object that ties JSON, PDF and public key together and to the certificate before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compliance.certificate import canonical

FORMAT = "erasure-seal/1"


def build(document: Mapping[str, Any], *, data: bytes, pdf: bytes, public_key: bytes) -> bytes:
    """The seal's bytes. Every value follows from the other files, so a verifier computes it anew and compares."""
    return canonical.encode(
        {
            "format": FORMAT,
            "id": document["id"],
            "number": document["number"],
            "issued_at": document["issued_at"],
            "signing_key": document["signing_key"],
            "previous_seal": document["previous_seal"],
            "json_sha256": canonical.sha256(data),
            "pdf_sha256": canonical.sha256(pdf),
            "public_key_sha256": canonical.sha256(public_key),
        }
    )
