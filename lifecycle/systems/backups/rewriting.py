"""Changes single rows of a part, for mentions that an officer decided: the part is sealed anew under its own key."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import zstandard

from compliance.sealing import seal
from lifecycle.systems.backups import archive
from lifecycle.systems.backups.catalogue import Catalogue
from lifecycle.systems.backups.layout import Manifest, Part, Row
from lifecycle.systems.base import Gate, Scope
from lifecycle.systems.needles import Needles

REDACTED = "[redacted]"


def row_id(row: Row) -> str:
    """What names a row in its part."""
    return sha256(row.kind.encode() + b"\0" + row.data).hexdigest()[:32]


def drop(catalogue: Catalogue, manifest: Manifest, part: Part, row: str, gate: Gate) -> Manifest | None:
    """The archive without one row; None where the row is gone already."""
    rows = archive.open_part(catalogue, manifest, part)
    left = [each for each in rows if row_id(each) != row]
    return _write(catalogue, manifest, part, left, gate) if len(left) < len(rows) else None


def redact(
    catalogue: Catalogue, manifest: Manifest, part: Part, row: str, scope: Scope, gate: Gate
) -> Manifest | None:
    """The archive with the subject's identifiers taken out of one row; None where the row is gone already."""
    rows = archive.open_part(catalogue, manifest, part)
    if all(row_id(each) != row for each in rows):
        return None
    needles = Needles.of(scope, foreign=True)
    changed = [
        replace(each, data=_redacted(each.data, needles)) if row_id(each) == row else each for each in rows
    ]
    return _write(catalogue, manifest, part, changed, gate)


def _redacted(data: bytes, needles: Needles) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    for found in sorted(needles.find_all(text), key=lambda each: each.start, reverse=True):
        text = text[: found.start] + REDACTED + text[found.end :]
    return text.encode("utf-8", "surrogateescape")


def _write(catalogue: Catalogue, manifest: Manifest, part: Part, rows: list[Row], gate: Gate) -> Manifest:
    """A new part beside the old one, then the manifest, then the old one deleted: a crash leaves a whole archive."""
    key = catalogue.keys.store.get(part.key)
    name = f"{part.name.partition('~')[0]}~{sha256(part.sha256.encode()).hexdigest()[:8]}"
    sealed = seal(key, zstandard.compress(b"".join(map(archive.encode_row, rows))), manifest.context(name))
    new = replace(part, name=name, rows=len(rows), size=len(sealed), sha256=sha256(sealed).hexdigest())
    gate.check()
    catalogue.vault.put(manifest.path(name), sealed, gate.deadline)
    changed = replace(
        manifest, parts=tuple(new if each.name == part.name else each for each in manifest.parts)
    )
    catalogue.vault.put(changed.path(), changed.encode(), gate.deadline)
    catalogue.vault.delete(manifest.path(part.name), gate)
    return changed
