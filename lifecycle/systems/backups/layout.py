"""What lies where in the bucket, and what a manifest says.

    tenant-T/ARCHIVE/manifest.json       what the archive holds; written last, so an archive without one is unfinished
    tenant-T/ARCHIVE/parts/NNNN          sealed zstd of JSON lines; one or more per person and data category
    exclusions/T/HMAC.json               who was erased: every restore leaves them out

T is the tenant's id, encoded as quoted() says: `1` and `1*`, or `a` and `a/b`, never share a prefix.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

PART, ROW, NAME = "archive_part", "archive_row", "object_name"
CANARY = "canary"
TENANTS, EXCLUSIONS = "tenant-", "exclusions/"


def tenant_prefix(tenant: str) -> str:
    """`tenant-T/`."""
    return f"{TENANTS}{quoted(tenant)}/"


def tenant_of(key: str) -> str | None:
    """The tenant whose archives `key` lies among; None for anything else."""
    head, slash, _ = key.partition("/")
    if not slash or not head.startswith(TENANTS):
        return None
    return unquote(head.removeprefix(TENANTS).replace("=", "%"))


def exclusions_prefix(tenant: str) -> str:
    """`exclusions/T/`."""
    return f"{EXCLUSIONS}{quoted(tenant)}/"


def quoted(tenant: str) -> str:
    """A tenant's id as one path element: letters, digits, `_` and `-` stay, every other byte of UTF-8 is `=XX`."""
    # Not `%XX`: storage services and clients differ in whether they decode it in listings.
    return quote(tenant, safe="").replace("~", "%7E").replace(".", "%2E").replace("%", "=")


@dataclass(frozen=True, slots=True)
class Part:
    """One sealed object. `person` is a pseudonym, "" for what is nobody's; `check` tells a key from its successor."""

    name: str
    person: str
    category: str
    rows: int
    size: int
    sha256: str
    key: str
    check: str

    @property
    def canary(self) -> bool:
        """Whether it was planted by us."""
        return self.category == CANARY


@dataclass(frozen=True, slots=True)
class Manifest:
    """One archive: whose, when, its parts, when it will be purged, how many rows of erased people were left out."""

    tenant: str
    archive: str
    created_at: datetime
    purge_at: datetime
    parts: tuple[Part, ...] = ()
    left_out: int = 0

    def path(self, name: str = "manifest.json") -> str:
        """The key of one of its objects."""
        return f"{tenant_prefix(self.tenant)}{self.archive}/{name}"

    def context(self, name: str) -> str:
        """What a part is sealed to, so that it opens in its own place only."""
        return f"archive/{self.tenant}/{self.archive}/{name}"

    def part(self, name: str) -> Part | None:
        """The part of that name."""
        return next((part for part in self.parts if part.name == name), None)

    def encode(self) -> bytes:
        """JSON."""
        times = {"created_at": self.created_at.isoformat(), "purge_at": self.purge_at.isoformat()}
        return json.dumps(asdict(self) | times, ensure_ascii=False, sort_keys=True).encode()


def read_manifest(data: bytes) -> Manifest:
    """The manifest in `data`. Raises ValueError or KeyError when it is none."""
    found: dict[str, Any] = json.loads(data)
    return Manifest(
        tenant=found["tenant"],
        archive=found["archive"],
        created_at=datetime.fromisoformat(found["created_at"]),
        purge_at=datetime.fromisoformat(found["purge_at"]),
        parts=tuple(Part(**part) for part in found["parts"]),
        left_out=found.get("left_out", 0),
    )


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Who was erased. `person` is "" for the whole tenant, then `spared` are the pseudonyms that were held.

    `retained` categories stay readable for legal only. After `readmitted_at` the same id is a new person's.
    """

    tenant: str
    person: str
    ledger: tuple[str, ...]
    erased_at: str
    purge_by: str | None = None
    retained: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()
    readmitted_at: str | None = None

    def covers(self, person: str, created_at: datetime) -> bool:
        """Whether a restore of an archive of that time leaves `person` out."""
        if self.readmitted_at and created_at > datetime.fromisoformat(self.readmitted_at):
            return False
        return self.person == person if self.person else person not in self.spared

    def encode(self) -> bytes:
        """JSON."""
        return json.dumps(asdict(self), sort_keys=True).encode()


def read_exclusion(data: bytes) -> Exclusion:
    """The exclusion in `data`."""
    found: Mapping[str, Any] = json.loads(data)
    lists = {name: tuple(found[name]) for name in ("ledger", "retained", "spared")}
    return Exclusion(**{**found, **lists})


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to archive: whose (a pseudonym, "" for nobody's), its data category, what it is, its bytes."""

    person: str
    category: str
    kind: str
    data: bytes = field(repr=False)
