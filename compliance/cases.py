"""What is sealed under a request's own key: who it is about, who asked, and the reasons people typed."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from compliance import pseudonyms
from compliance.keystore import default as keystore
from compliance.models import Decision, ErasureRequest
from compliance.sealing import SealBroken, seal, seal_json, unseal, unseal_json


def key_name(request_id: str) -> str:
    """The name of a request's key in the key store."""
    return f"case/{request_id}"


def key_of(request: ErasureRequest) -> bytes:
    """The case key. Raises KeyDestroyed once the case is closed."""
    return keystore().get(key_name(request.pk))


def read(request: ErasureRequest) -> dict[str, Any]:
    """{user, requested_by, reason, identifiers}. Raises SealBroken where the sealed user is not the request's subject,
    so that nobody is erased by an exchanged column."""
    content: dict[str, Any] = unseal_json(key_of(request), request.sealed or b"", f"request/{request.pk}")
    if pseudonyms.of_user(request.tenant_id, content.get("user")) != request.subject_pseudonym:
        raise SealBroken(f"The sealed subject of request {request.pk} is not the one it was filed for.")
    return content


def write(request: ErasureRequest, content: dict[str, Any]) -> bytes:
    """The sealed column of a request."""
    return seal_json(key_of(request), content, f"request/{request.pk}")


def seal_reason(request: ErasureRequest, text: str) -> tuple[bytes | None, str]:
    """(sealed text, its SHA-256 salted with the case key): the hash may be chained, and names nothing after closing."""
    if not text:
        return None, ""
    key = key_of(request)
    return seal(key, text.encode(), f"reason/{request.pk}"), sha256(key + text.encode()).hexdigest()


def read_reason(decision: Decision) -> str:
    """What the person typed; empty where nothing was, or where the case is closed."""
    if decision.sealed_reason is None:
        return ""
    request = decision.request
    return unseal(key_of(request), decision.sealed_reason, f"reason/{request.pk}").decode()
