"""Makes and restores archives."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import zstandard

from compliance.keystore import KeyDestroyed
from compliance.sealing import SealBroken, seal, unseal
from lifecycle.systems.backups.catalogue import Catalogue
from lifecycle.systems.backups.keys import Keys, check_of
from lifecycle.systems.backups.layout import Manifest, Part, Row
from lifecycle.systems.backups.vault import Vault
from lifecycle.systems.base import Permanent

KEEP_DAYS = 35
PART_BYTES = 4 * 1024 * 1024
TOTAL_BYTES = 32 * 1024 * 1024


def connect(place: Mapping[str, str]) -> Catalogue:
    """The catalogue at a place (`endpoint`, `bucket`, `key`, `secret`, `keystore`)."""
    return Catalogue(Vault(place), Keys(place))


@dataclass(slots=True)
class _Writer:
    """Collects rows by person and category, and writes a sealed part whenever one is full."""

    catalogue: Catalogue
    manifest: Manifest
    waiting: dict[tuple[str, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    parts: list[Part] = field(default_factory=list)

    def add(self, row: Row) -> None:
        place, line = (row.person, row.category), encode_row(row)
        self.waiting[place].append(line)
        self.sizes[place] += len(line)
        if self.sizes[place] >= PART_BYTES:
            self.flush(place)
        elif sum(self.sizes.values()) >= TOTAL_BYTES:
            self.flush(max(self.sizes, key=lambda each: self.sizes[each]))

    def flush(self, place: tuple[str, str]) -> None:
        person, category = place
        lines = self.waiting.pop(place)
        self.sizes.pop(place)
        name = f"parts/{len(self.parts):05d}"
        key_name = self.catalogue.keys.name(self.manifest.tenant, person)
        key = self._key(key_name)
        sealed = seal(key, zstandard.compress(b"".join(lines)), self.manifest.context(name))
        self.catalogue.vault.put(self.manifest.path(name), sealed)
        self.parts.append(
            Part(
                name=name,
                person=person,
                category=category,
                rows=len(lines),
                size=len(sealed),
                sha256=sha256(sealed).hexdigest(),
                key=key_name,
                check=check_of(key),
            )
        )

    def _key(self, name: str) -> bytes:
        store = self.catalogue.keys.store
        try:
            return store.get_or_create(name)
        except KeyDestroyed:
            # Only the readmitted and our own canaries come here: a new life, under a new key.
            return store.create(name, again=True)


def create(
    catalogue: Catalogue,
    tenant: str,
    rows: Iterable[Row],
    *,
    archive: str = "",
    at: datetime | None = None,
    keep_days: int = KEEP_DAYS,
    planted: bool = False,
) -> Manifest:
    """Archives `rows` of a tenant and returns the manifest. Rows of erased people are left out and counted.

    `archive` defaults to the time; an archive of that name must not stand yet (Permanent). Memory stays below about
    50 MB however many rows come. `planted` archives hold canaries: no exclusion counts, and they may
    be written again.
    """
    at = at or datetime.now(UTC)
    name = archive or at.strftime("%Y%m%dT%H%M%S%fZ")
    manifest = Manifest(tenant, name, at, at + timedelta(days=keep_days))
    if not planted and catalogue.vault.get(manifest.path()) is not None:
        raise Permanent(f"An archive {name} stands already. Archives are never written again.")
    excluded = [] if planted else catalogue.exclusions(tenant)
    writer, left_out = _Writer(catalogue, manifest), 0
    for row in rows:
        if any(each.covers(row.person, at) for each in excluded):
            left_out += 1
        else:
            writer.add(row)
    for place in list(writer.waiting):
        writer.flush(place)
    made = Manifest(tenant, name, at, manifest.purge_at, tuple(writer.parts), left_out)
    catalogue.vault.put(made.path(), made.encode())
    return made


@dataclass(frozen=True, slots=True)
class Restored:
    """One row that came back; `part` says from where."""

    part: str
    row: Row


def restore(catalogue: Catalogue, manifest: Manifest, *, for_legal: bool = False) -> Iterator[Restored]:
    """Every row of an archive but those of excluded people and those whose key is gone.

    `for_legal` also yields what is retained of excluded people; it goes to a place that no application reaches.
    Raises Permanent where a part that should open was changed.
    """
    excluded = catalogue.exclusions(manifest.tenant)
    for part in catalogue.readable(manifest):
        over = [each for each in excluded if each.covers(part.person, manifest.created_at)]
        if over and not (for_legal and all(part.category in each.retained for each in over)):
            continue
        for row in open_part(catalogue, manifest, part):
            yield Restored(part.name, row)


def open_part(catalogue: Catalogue, manifest: Manifest, part: Part) -> list[Row]:
    """The rows of one part. Raises Permanent where it is missing, changed, or its key is gone."""
    sealed, key = catalogue.vault.get(manifest.path(part.name)), catalogue.keys.get(part.key)
    if sealed is None or key is None or sha256(sealed).hexdigest() != part.sha256:
        raise Permanent(
            f"Part {part.name} of archive {manifest.archive} is missing, changed, or without its key."
        )
    try:
        plain = zstandard.ZstdDecompressor().decompress(unseal(key, sealed, manifest.context(part.name)))
    except (SealBroken, zstandard.ZstdError) as error:
        raise Permanent(f"Part {part.name} of archive {manifest.archive} can't be opened.") from error
    return [decode_row(line, part) for line in plain.splitlines(keepends=True)]


def encode_row(row: Row) -> bytes:
    """One line of JSON; bytes that are no UTF-8 as base64."""
    try:
        content = {"text": row.data.decode("utf-8")}
    except UnicodeDecodeError:
        content = {"base64": base64.b64encode(row.data).decode()}
    # ASCII only: no character of the text can be taken for the end of a line.
    return json.dumps({"kind": row.kind, **content}).encode() + b"\n"


def decode_row(line: bytes, part: Part) -> Row:
    """The row in one line of a part."""
    found = json.loads(line)
    data = found["text"].encode() if "text" in found else base64.b64decode(found["base64"])
    return Row(part.person, part.category, found["kind"], data)
