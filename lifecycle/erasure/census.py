"""Which items of a manifest are our own markers: they go like everything else, and are never counted as the subject's.

Known by difference: what discovering yields after the canaries were planted and the sealed manifest does not hold.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from lifecycle import places
from lifecycle.engine.workflow import Context
from lifecycle.erasure import lines, manifest
from lifecycle.erasure.cases import CaseFile
from lifecycle.models import SystemLine
from lifecycle.systems.base import Action, key_hash

ITEMS_PER_CANARY = (
    4  # more new items than this for each canary are not ours alone, so all of them are counted
)


def take(
    file: CaseFile, line: SystemLine, context: Context, after: Any = None, found: Sequence[str] = ()
) -> tuple[Any, list[str]]:
    """Notes the key hashes of the markers' items on the line, once per round.

    Returns where to go on and what was found so far when the slice's time is over; (None, []) once it is noted.
    """
    if line.detail.get("markers_of") == file.case.round:
        return None, []
    known = _known(file, line)
    most = ITEMS_PER_CANARY * line.canaries.count()
    fresh = list(found)
    with places.eraser(line.environment, line.system, file.datamap) as eraser:
        while True:
            page = eraser.discover(file.scope, after)
            for item in page.entries:
                if item.action != Action.RETAIN and not _holds(known, key_hash(item.kind, item.key)):
                    fresh.append(key_hash(item.kind, item.key).hex())
            context.heartbeat()
            after = page.cursor
            if after is None or len(fresh) > most:
                break
            if context.time_left() <= 0:
                return after, fresh
    lines.note(line, markers=fresh if len(fresh) <= most else [], markers_of=file.case.round)
    return None, []


def of(line: SystemLine) -> frozenset[str]:
    """The key hashes (hexadecimal) of the markers' items."""
    return frozenset(line.detail.get("markers", ()))


def _known(file: CaseFile, line: SystemLine) -> array[int]:
    """The manifest's key hashes, sorted: 8 bytes an item, so that a million of them fit."""
    known = array("Q")
    for chunk in line.chunks.order_by("index"):
        known.extend(
            int.from_bytes(key_hash(item.kind, item.key), "big") for item in manifest.items(chunk, file.key)
        )
    return array("Q", sorted(known))


def _holds(known: array[int], hashed: bytes) -> bool:
    number = int.from_bytes(hashed, "big")
    at = bisect_left(known, number)
    return at < len(known) and known[at] == number
