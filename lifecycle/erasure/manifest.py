"""The sealed manifest: everything found for a subject, in chunks of one page each, before anything is destroyed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import zstandard
from django.db.models import Max, Sum
from django.utils import timezone

from compliance.sealing import seal, unseal
from lifecycle.models import ManifestChunk, SystemLine
from lifecycle.systems.base import Action, Item, key_hash
from lifecycle.systems.items import Items, Run

_ACTIONS = {str(each): each for each in Action}


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
    listed = Items.of(items)
    plain = _written(listed)
    before = (
        ManifestChunk.objects.filter(line=line, index=index - 1).values_list("digest", flat=True).first()
        or ""
    )
    values = {
        "pass_number": pass_number,
        "count": len(listed),
        "kinds": dict(_kinds(listed, markers)),
        "sealed": seal(key, zstandard.compress(plain), _context(line, index)),
        "digest": hashlib.sha256(before.encode() + plain).hexdigest(),
        "erased_at": None,
    }
    chunk = ManifestChunk(line=line, index=index, **values)
    ManifestChunk.objects.bulk_create(
        [chunk], update_conflicts=True, unique_fields=["line", "index"], update_fields=list(values)
    )
    return chunk


def _kinds(listed: Items, markers: frozenset[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for run in listed.runs:
        ours = sum(key_hash(run.kind, key).hex() in markers for key in run.keys) if markers else 0
        counts[f"{run.kind}:{run.action}"] += len(run.keys) - ours
        counts[f"{run.kind}:marker"] += ours
    return +counts


def _written(listed: Items) -> bytes:
    """JSON: [kind, category, action, keys, sizes] of each run."""
    runs = [
        [each.kind, each.category, str(each.action), list(each.keys), list(each.sizes)]
        for each in listed.runs
    ]
    try:
        return orjson.dumps(runs)
    except (
        orjson.JSONEncodeError
    ):  # bytes that are not UTF-8 stand as lone surrogates, which json alone writes
        return json.dumps(runs).encode()


def _read(plain: bytes) -> Any:
    try:
        return orjson.loads(plain)
    except orjson.JSONDecodeError:
        return json.loads(plain)


def next_index(line: SystemLine) -> int:
    """The index that the next chunk of a line takes."""
    last: int | None = line.chunks.aggregate(last=Max("index"))["last"]
    return 0 if last is None else last + 1


def items(chunk: ManifestChunk, key: bytes) -> Items:
    """The items of one chunk, unsealed. Raises SealBroken when a byte of it was changed."""
    plain = zstandard.decompress(unseal(key, bytes(chunk.sealed), _context(chunk.line, chunk.index)))
    return Items(
        Run(kind, category, _ACTIONS[action], keys, sizes)
        for kind, category, action, keys, sizes in _read(plain)
    )


def destroyed_hashes(line: SystemLine, key: bytes) -> Iterator[bytes]:
    """The key hash of each item that this line took away: what other cases' bystanders may miss."""
    for chunk in line.chunks.exclude(erased_at=None).iterator(chunk_size=20):
        for run in items(chunk, key).runs:
            if run.action != Action.RETAIN:
                yield from (key_hash(run.kind, each) for each in run.keys)


def mark_erased(chunk: ManifestChunk) -> None:
    """Every item of the chunk that could go is gone (locked ones are named on the line)."""
    ManifestChunk.objects.filter(pk=chunk.pk, erased_at=None).update(erased_at=timezone.now())


def keep_place(chunk: ManifestChunk) -> None:
    """Stores how far a chunk has come: a slow system would never end one that begins anew in each slice."""
    ManifestChunk.objects.filter(pk=chunk.pk, erased_at=None).update(taken=chunk.taken)


def begin_anew(line: SystemLine) -> None:
    """Every chunk of a line is to be erased again from its start."""
    line.chunks.update(erased_at=None, taken=0)


def under_way(line: SystemLine) -> int:
    """Items done in chunks that are not."""
    done: int = line.chunks.filter(erased_at=None).aggregate(done=Sum("taken", default=0))["done"]
    return done


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
