"""What stands in the way of moving a tenant's objects, and what the approver should know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.movable import Finding
from lifecycle.systems.s3.kinds import MARKER
from lifecycle.systems.s3.layout import Root
from lifecycle.systems.s3.listing import Listing, uploads, versions
from lifecycle.systems.s3.moves import large
from lifecycle.systems.s3.moves.client import LOCKS
from lifecycle.systems.s3.moves.keys import Pair, Side


def findings(pair: Pair, roots: Sequence[Root], pool: Executor) -> list[Finding]:
    """Findings of one move; changes nothing."""
    try:
        return _findings(pair, roots, pool)
    except (Permanent, Transient) as error:
        return [Finding(True, f"The buckets of the move can't be read: {error}")]


def _findings(pair: Pair, roots: Sequence[Root], pool: Executor) -> list[Finding]:
    source, target = pair.source, pair.target
    if (source.place["endpoint"], source.client.bucket) == (target.place["endpoint"], target.client.bucket):
        return [
            Finding(True, "Source and target are the same bucket; objects would be moved onto themselves.")
        ]
    found = [
        Finding(
            False,
            "S3 dates each object anew when it is copied: what is kept by date counts from the move for objects.",
        )
    ]
    lies = _count(target, roots, versions, most=1000)
    if lies:
        found.append(
            Finding(
                True,
                f"{lies} object versions already lie under the tenant's prefix in the target bucket. Find out whose "
                "they are; discard what an earlier move left.",
            )
        )
    if source.client.keeps_versions() and not target.client.keeps_versions():
        found.append(
            Finding(
                True,
                "The source bucket keeps versions and the target bucket does not. Switch versioning on there.",
            )
        )
    pending = _count(source, roots, uploads, most=1000)
    if pending:
        found.append(
            Finding(
                False,
                f"{pending} unfinished uploads stay behind: they are no objects yet. Finish or abort them.",
            )
        )
    return [*found, *_of_versions(pair, roots, pool)]


def _of_versions(pair: Pair, roots: Sequence[Root], pool: Executor) -> list[Finding]:
    found: list[Finding] = []
    listed = [entry for page in _all(pair.source, roots) for entry in page.entries]
    if any(entry.size >= large.LARGE for entry in listed) and large.program() is None:
        found.append(
            Finding(
                True,
                "Some objects are large and s5cmd, which moves those, is not installed where workers run.",
            )
        )
    if not pair.source.client.has_locks():
        return found
    if pair.target.client.has_locks():
        sentence = (
            "S3 locks and legal holds are carried over; what is locked on the source can't be removed before."
        )
        return [*found, Finding(False, sentence)]
    heads = pool.map(
        lambda entry: pair.source.client.head(entry.key, entry.mark),
        [entry for entry in listed if entry.kind != MARKER],
    )
    locked = sum(any(name in (head or {}) for name in LOCKS) for head in heads)
    if locked:
        sentence = f"{locked} object versions are under an S3 lock that the target bucket can't keep."
        found.append(Finding(True, sentence))
    return found


def _all(side: Side, roots: Sequence[Root]) -> list[Listing]:
    pages: list[Listing] = []
    for root in roots:
        after: dict[str, str] | None = None
        while True:
            listing = versions(side.wire, root.prefix, after)
            pages.append(listing)
            after = listing.more
            if after is None:
                break
    return pages


def _count(side: Side, roots: Sequence[Root], pages: Callable[..., Listing], most: int) -> int:
    total = 0
    for root in roots:
        total += sum(root.matches(entry.key) for entry in pages(side.wire, root.prefix, None, most).entries)
    return total
