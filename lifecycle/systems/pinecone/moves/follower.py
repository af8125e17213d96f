"""Vectors of the follower brought level, change by change: the applier's rules for Pinecone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.following import age
from lifecycle.systems.ledger import Change
from lifecycle.systems.pinecone.moves.store import Store, Vector, digest, parts, split

SETTLE = 2.0  # seconds after which a vector without a digest counts as settled
THREADS = 8


class VectorFollower:
    """One tenant's vectors in the follower's index."""

    store = "pinecone"
    batch = 500

    def __init__(self, source: Mapping[str, str], target: Mapping[str, str], threads: int = THREADS) -> None:
        self.source, self.target = Store(source, threads + 1), Store(target, threads + 1)  # one lists
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="pinecone-follow")

    def bring(self, changes: Sequence[Change]) -> Mapping[str, Exception]:
        """Carries out changes of different keys; one namespace after the other."""
        failed: dict[str, Exception] = {}
        placed = sorted(((split(change.key), change) for change in changes), key=lambda pair: pair[0])
        for namespace, group in groupby(placed, key=lambda pair: pair[0][0]):
            mine = {vector_id: change for (_, vector_id), change in group}
            try:
                failed |= self._namespace(namespace, mine)
            except (Transient, Permanent) as error:
                failed |= {change.key: error for change in mine.values()}
        return failed

    def fetch(self, store: Store, namespace: str, ids: Iterable[str]) -> dict[str, Vector]:
        """Vectors by id, asked for side by side."""
        found: dict[str, Vector] = {}
        for page in self.pool.map(lambda part: store.fetch(namespace, part), parts(list(ids))):
            found |= page
        return found

    def close(self) -> None:
        """Ends the threads and closes every connection."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.source.close()
        self.target.close()

    def _namespace(self, namespace: str, changes: Mapping[str, Change]) -> dict[str, Exception]:
        puts = {vector_id: change for vector_id, change in changes.items() if change.op != "delete"}
        gone = [vector_id for vector_id in changes if vector_id not in puts]
        if gone:
            self.target.delete(namespace, gone)
        said = [vector_id for vector_id, change in puts.items() if change.sha256]
        there = self.fetch(self.target, namespace, said)
        wanted = [each for each in puts if each not in there or digest(there[each]) != puts[each].sha256]
        found = self.fetch(self.source, namespace, wanted)
        failed = {
            puts[each].key: error
            for each in wanted
            if (error := _problem(puts[each], found.get(each))) is not None
        }
        good = [found[each] for each in wanted if puts[each].key not in failed]
        if good:
            self.target.upsert(namespace, good)
        return failed


def _problem(change: Change, vector: Vector | None) -> Exception | None:
    """Why what was read can't stand for the change; None where it can."""
    young = age(change) < SETTLE
    if change.sha256 and (vector is None or digest(vector) != change.sha256):
        return Transient("The owner's index does not show what its rows say; its reads may lag.")
    if not change.sha256 and young:
        return Transient("The owner's index may not show the newest vector yet.")
    if vector is None:
        return Permanent("A vector that the owner's rows name is not in its index.")
    return None
