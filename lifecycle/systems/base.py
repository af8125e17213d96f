"""The contract of every external system. No Django here: plain values in and out.

Each system is one folder: `eraser.py` (an `Eraser`), `verifier.py` (a `Verifier`: other code, other credentials,
read-only), `place.py` (its address from an environment's settings). `registry.py` names them all.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")

SYSTEMS = ("postgresql", "pinecone", "s3", "redis", "cloudwatch", "backups", "analytics")


def whereabouts(error: BaseException) -> str:
    """An error's type and places for a log. Its text is left out: it may name a person."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = " > ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
    return f"{type(error).__name__} in {places}"


class Permanent(Exception):
    """It will fail again however often it is tried. The text is a sentence without personal data."""


class Transient(Exception):
    """It may succeed when tried again. The text is a sentence without personal data."""


class Unreachable(Transient):
    """The service did not answer at all: what else is asked of it will fail as well."""


class Action(StrEnum):
    ERASE = "erase"
    ANONYMISE = "anonymise"
    RETAIN = "retain"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose data: a whole tenant (`user` is None) or one user of it, with what names that user in raw text."""

    tenant: str
    user: str | None = None
    mails: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Subject(sealed)"


@dataclass(frozen=True, slots=True)
class Scope:
    """What one call is about. `anchors` is what the subject's rows lead to, by kind: {"documents": (ids, ...)}.

    `spared_users` are held users inside a tenant that is erased around the hold: theirs is nobody's to touch.
    `retained` maps a data category to a moment: records dated since then (and undated ones) are kept, older ones may
    go; None keeps all of the category.
    `canaries` are random markers planted for this case; whatever carries one belongs to the subject.
    """

    subject: Subject
    anchors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spared_users: frozenset[str] = frozenset()
    retained: Mapping[str, datetime | None] = field(default_factory=dict)
    held_categories: frozenset[str] = frozenset()
    canaries: tuple[str, ...] = ()
    pseudonym: str = ""  # what replaces the user where a record is anonymised
    ledger_excludes: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return "Scope(sealed)"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing found. `kind` is a table, `object_version`, `vector` ...; `key` finds it again (a string, JSON where needed)."""

    kind: str
    key: str
    category: str = "content"
    action: Action = Action.ERASE
    size: int = 0


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One bounded slice: at most 10,000 entries or ten seconds. `cursor` (JSON-able) continues; None ends."""

    entries: Sequence[T]
    cursor: Any = None


@dataclass(frozen=True, slots=True)
class Locked:
    """What can't be erased before a date, with the reason; reported, never skipped."""

    item: Item
    until: datetime | None
    why: str


@dataclass(slots=True)
class Tally:
    """What one `erase` call did. `taken` items of the given list are finished, in their order; call again with the rest.

    `erased` counts what this call saw go (a repeat that finds nothing counts 0, the manifest holds the true count).
    """

    taken: int = 0
    erased: int = 0
    anonymised: int = 0
    locked: list[Locked] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Planted:
    """One canary: its shape (`noncurrent_version`, `set_member` ...), its marker, and how to find it again."""

    shape: str
    marker: str
    place: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A raw search hit. `owner_known` names the rule when the hit belongs to the subject; else it is a mention.

    `needle` is the kind of what matched (id, mail, name, canary); `excerpt` is sealed by the caller, never logged.
    """

    kind: str
    key: str
    place: str
    needle: str
    belongs: bool
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One bystander item: whose (`owner`: a tenant id or `tenant/user`), `key_hash(kind, key)`, `content_hash(...)`."""

    owner: str
    key: bytes
    content: bytes


def key_hash(kind: str, key: str) -> bytes:
    """8 bytes that stand for an item's `kind` and `key`. Erasers' items and verifiers' entries share it, so that a
    bystander's loss can be looked up in other cases' manifests."""
    return blake2b(f"{kind}\0{key}".encode(), digest_size=8).digest()


def content_hash(content: bytes) -> bytes:
    """8 bytes that stand for an item's content."""
    return blake2b(content, digest_size=8).digest()


class Gate(Protocol):
    """An open destructive batch. Ask before each remote send; the batch ends at its deadline on every side."""

    @property
    def deadline(self) -> datetime: ...

    def check(self) -> None:
        """Raises `BatchOver` when the deadline has passed or a hold arrived."""

    def remaining(self) -> float:
        """Seconds until the deadline, at least 0. Use as timeout of the send, so that the server stops too."""


@dataclass(frozen=True, slots=True)
class SharedGate:
    """A gate that several threads ask in turn: it speaks over one database connection."""

    gate: Gate
    lock: threading.Lock

    @property
    def deadline(self) -> datetime:
        return self.gate.deadline

    def check(self) -> None:
        """As the gate's own, one thread at a time."""
        with self.lock:
            self.gate.check()

    def remaining(self) -> float:
        """As the gate's own."""
        return self.gate.remaining()


class BatchOver(Exception):
    """The batch may send no more. Return what was done, or let it pass: the caller opens the next batch."""


class Eraser(Protocol):
    """Finds and destroys. Every method is idempotent and may be interrupted anywhere."""

    name: str
    method: str  # for the certificate: how it erases, with service and version
    batch: int  # how many items one destructive batch takes well (ends within two seconds)
    clean_passes: int  # how many empty discover passes in a row end the erasure (Redis: 2)

    def discover(self, scope: Scope, cursor: Any) -> Page[Item]:
        """What belongs to the subject now, retained and anonymisable things marked; children before parents."""

    def erase(self, scope: Scope, items: Sequence[Item], gate: Gate) -> Tally:
        """Destroys (or anonymises) these items, and nothing else. Retained items are never passed."""

    def finish(self, scope: Scope, gate: Gate) -> Tally:
        """What closes the erasure once all passes are clean (tombstones, views, large objects); idempotent."""

    def plant(self, scope: Scope, shape: str, marker: str) -> Planted:
        """Plants one canary in a shape of `shapes()`; planting the same marker again is harmless."""

    def shapes(self, scope: Scope) -> Sequence[str]:
        """Every storage shape this system has for this subject."""

    def lift(self, planted: Planted) -> None:
        """Removes a canary again, where the case is held or cancelled."""

    def anchors(self, scope: Scope) -> Mapping[str, tuple[str, ...]]:
        """What this system knows that leads to data elsewhere (PostgreSQL: document ids); {} for most."""

    def identify(self, scope: Scope) -> Subject:
        """The subject completed with the mails and names this system knows of; the same subject for most."""

    def close(self) -> None: ...


class Verifier(Protocol):
    """Looks again: other code, other credentials, read-only."""

    name: str
    method: str  # for the certificate: how it verifies

    def remaining(self, scope: Scope, items: Sequence[Item]) -> list[Item]:
        """Which of these manifest items are still readable (anonymised ones: still naming the subject)."""

    def search(self, scope: Scope, cursor: Any) -> Page[Hit]:
        """Raw search for the subject's identifiers, their variants, and canaries, in every container of the system."""

    def bystanders(self, scope: Scope) -> Iterator[Entry]:
        """Everyone else's data in containers that the subject shares, in any order, streamed."""

    def close(self) -> None: ...


class Preserver(Protocol):
    """A system with a hold of its own (S3 legal hold)."""

    def preserve(self, scope: Scope, cursor: Any, leave_out: Sequence[str] = ()) -> Page[Item]:
        """Puts the subject's items under the provider's hold, but for keys with a text of `leave_out`; one slice."""

    def release(self, items: Sequence[Item]) -> None:
        """Takes the provider's hold off these items."""

    def close(self) -> None:
        """Closes connections."""


def batches(items: Sequence[Item], size: int) -> Iterable[Sequence[Item]]:
    """`items` in slices of `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
