"""The sealed manifest: everything found for a subject, in chunks of at most 5,000 items, before anything is destroyed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence

import zstandard
from django.db.models import Max
from django.utils import timezone

from compliance.sealing import seal, unseal
from lifecycle.models import ManifestChunk, SystemLine
from lifecycle.systems.base import Action, Item, key_hash

CHUNK = 5_000
_ACTIONS = {str(each): each for each in Action}  # calling the enumeration costs more than the rest of an item


def add(
    line: SystemLine,
    key: bytes,
    items: Sequence[Item],
    *,
    index: int,
    pass_number: int = 0,
    markers: frozenset[str] = frozenset(),
) -> ManifestChunk:
    """Seals one chunk at `index`; items whose key hash is among `markers` are ours and counted apart. Written again at the same index (a slice that was interrupted), it replaces itself."""
    plain = json.dumps(
        [[each.kind, each.key, each.category, str(each.action), each.size] for each in items]
    ).encode()
    before = (
        ManifestChunk.objects.filter(line=line, index=index - 1).values_list("digest", flat=True).first()
        or ""
    )
    kinds = Counter(f"{each.kind}:{_counted_as(each, markers)}" for each in items)
    chunk, _ = ManifestChunk.objects.update_or_create(
        line=line,
        index=index,
        defaults={
            "pass_number": pass_number,
            "count": len(items),
            "kinds": dict(kinds),
            "sealed": seal(key, zstandard.compress(plain), _context(line, index)),
            "digest": hashlib.sha256(before.encode() + plain).hexdigest(),
            "erased_at": None,
        },
    )
    return chunk


def _counted_as(item: Item, markers: frozenset[str]) -> str:
    return "marker" if markers and key_hash(item.kind, item.key).hex() in markers else str(item.action)


def next_index(line: SystemLine) -> int:
    """The index that the next chunk of a line takes."""
    last: int | None = line.chunks.aggregate(last=Max("index"))["last"]
    return 0 if last is None else last + 1


def items(chunk: ManifestChunk, key: bytes) -> list[Item]:
    """The items of one chunk, unsealed. Raises SealBroken when a byte of it was changed."""
    plain = zstandard.decompress(unseal(key, bytes(chunk.sealed), _context(chunk.line, chunk.index)))
    return [
        Item(kind, where, category, _ACTIONS[action], size)
        for kind, where, category, action, size in json.loads(plain)
    ]


def destroyed_hashes(line: SystemLine, key: bytes) -> Iterator[bytes]:
    """The key hash of each item that this line took away: what other cases' bystanders may miss."""
    for chunk in line.chunks.exclude(erased_at=None).iterator(chunk_size=20):
        yield from (
            key_hash(item.kind, item.key) for item in items(chunk, key) if item.action != Action.RETAIN
        )


def mark_erased(chunk: ManifestChunk) -> None:
    """Every item of the chunk that could go is gone (locked ones are named on the line)."""
    ManifestChunk.objects.filter(pk=chunk.pk, erased_at=None).update(erased_at=timezone.now())


def digest(line: SystemLine) -> str:
    """The chained digest of a line's whole manifest ("" while it is empty)."""
    return line.chunks.order_by("-index").values_list("digest", flat=True).first() or ""


def count(line: SystemLine) -> dict[str, int]:
    """{action: items} over all chunks of a line, and "gone" for those of erased chunks by action."""
    counts: Counter[str] = Counter()
    for kinds, erased_at in line.chunks.values_list("kinds", "erased_at"):
        for name, number in kinds.items():
            action = name.rpartition(":")[2]
            counts[action] += number
            if erased_at is not None:
                counts[f"gone:{action}"] += number
    return dict(counts)


def _context(line: SystemLine, index: int) -> str:
    return f"manifest/{line.pk}/{index}"
