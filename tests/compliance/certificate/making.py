"""Certificates made without a database: signed, sealed, chained."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pikepdf

from compliance.certificate import canonical, document, rendering, seal
from compliance.certificate.parts import PUBLIC_KEY, SIGNATURE, Bundle
from compliance.certificate.signing import Signer
from tests.compliance.certificate import samples

ISSUED = "2026-11-25T19:05:00Z"


def identity(number: int = 1, **given: Any) -> document.Identity:
    """The identity of certificate `number`."""
    facts: dict[str, Any] = {
        "id": f"dc-{number:010d}", "number": number, "kind": "certificate", "issued_at": ISSUED,
        "issuer": "Northwind Retrieval GmbH", "fingerprint": "0" * 40, "previous_seal": "ab" * 32 if number > 1 else None,
    }  # fmt: skip
    return document.Identity(**(facts | given))


def bundle(signer: Signer, made: Mapping[str, Any] | None = None, pdf: bytes | None = None) -> Bundle:
    """All seven files of one certificate, by default of a user's, number 1."""
    made = made or document.build(samples.user(), identity(fingerprint=signer.fingerprint))
    data, public_key = canonical.encode(made), signer.public_key().encode()
    pdf = pdf or rendering.render(made)
    sealed = seal.build(made, data=data, pdf=pdf, public_key=public_key)
    plain = {".json": data, ".pdf": pdf, ".seal.json": sealed}
    signatures = {f"{ending}{SIGNATURE}": signer.sign(content).encode() for ending, content in plain.items()}
    return Bundle(str(made["id"]), plain | signatures, public_key)


def small_pdf(data: bytes, name: str = "c.json") -> bytes:
    """A PDF of one empty page that carries `data`: where a test needs no rendering."""
    out = io.BytesIO()
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        pdf.attachments[name] = pikepdf.AttachedFileSpec(pdf, data, filename=name)
        pdf.save(out)
    return out.getvalue()


def seal_hash(made: Bundle) -> str:
    """What the next certificate of the chain names."""
    return canonical.sha256(made.files[".seal.json"])


def copy(made: Bundle, **changed: bytes) -> Bundle:
    """The same files, some changed: keys are endings without dots (`seal_json`, `pdf_asc`), or `public`."""
    endings = {"." + name.replace("_", "."): data for name, data in changed.items() if name != "public"}
    return Bundle(made.stem, made.files | endings, changed.get("public", made.public_key))


def write(made: Bundle, folder: Path) -> Path:
    """Writes the files as a reader gets them; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for ending, data in made.files.items():
        (folder / made.name(ending)).write_bytes(data)
    if made.public_key is not None:
        (folder / PUBLIC_KEY).write_bytes(made.public_key)
    return folder
