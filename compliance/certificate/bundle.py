"""The seven files of a stored certificate."""

from __future__ import annotations

from pathlib import Path

from compliance.certificate.parts import PUBLIC_KEY, SIGNATURE
from compliance.errors import Refused
from compliance.models import Certificate


def files(certificate: Certificate, stem: str = "") -> dict[str, bytes]:
    """{file name: bytes}. `stem` defaults to the certificate's id; the request's id may stand there too."""
    name, signatures = stem or certificate.pk, certificate.signatures
    parts = {"json": certificate.document, "pdf": certificate.pdf, "seal": certificate.seal}
    found: dict[str, bytes] = {}
    for part, ending in (("json", ".json"), ("pdf", ".pdf"), ("seal", ".seal.json")):
        found[f"{name}{ending}"] = bytes(parts[part])
        found[f"{name}{ending}{SIGNATURE}"] = signatures[part].encode()
    found[PUBLIC_KEY] = signatures["public_key"].encode()
    return found


def write(certificate: Certificate, folder: Path | str, stem: str = "") -> list[Path]:
    """Writes the seven files into `folder` (made where missing) and returns their paths.

    Raises Refused where a file of the same name holds something else; what is there is never overwritten.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    found = files(certificate, stem)
    other = [
        name
        for name, data in found.items()
        if (target / name).exists() and (target / name).read_bytes() != data
    ]
    if other:
        raise Refused(f"The folder already holds another {', '.join(other)}. Choose an empty folder.")
    for name, data in found.items():
        (target / name).write_bytes(data)
    return [target / name for name in found]
