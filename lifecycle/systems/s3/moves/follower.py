"""Objects of the follower brought level, change by change: the applier's rules for S3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.following import LINGER, age
from lifecycle.systems.ledger import Change
from lifecycle.systems.s3.moves import large
from lifecycle.systems.s3.moves.keys import Pair, Side, live

SETTLE = 2.0  # seconds after which content without a digest counts as settled
THREADS = 16


class S3Follower:
    """One tenant's objects in the follower's bucket."""

    store = "s3"
    batch = 200

    def __init__(self, source: Mapping[str, str], target: Mapping[str, str], threads: int = THREADS) -> None:
        self.pair = Pair(Side(source), Side(target))
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="s3-follow")

    def bring(self, changes: Sequence[Change]) -> Mapping[str, Exception]:
        """Carries out changes of different keys, side by side."""
        results = self.pool.map(self._one, changes)
        return {
            change.key: error for change, error in zip(changes, results, strict=True) if error is not None
        }

    def close(self) -> None:
        """Ends the threads and closes every connection."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.pair.source.close()
        self.pair.target.close()

    def _one(self, change: Change) -> Exception | None:
        try:
            if change.op == "delete":
                self._delete(change)
            else:
                self._put(change)
        except (Transient, Permanent) as error:
            return error
        return None

    def _put(self, change: Change) -> None:
        known, head = self.pair.target.client.look(change.key)
        if change.sha256 and head is not None and self._sha256(change.key, head) == change.sha256:
            return  # the application wrote both regions itself, or an earlier try ended here
        _, found = self.pair.follow(change.key, known=known)
        if change.sha256:
            if found != change.sha256:
                raise Transient("The owner's store does not hold what its rows say; it may be newer already.")
        elif not found and age(change) < SETTLE:
            raise Transient("The owner's store does not show an object yet that its rows name.")
        elif not found:
            raise Permanent("An object that the owner's rows name is not in its store.")

    def _delete(self, change: Change) -> None:
        target = self.pair.target
        try:
            mine = self.pair.source.history(change.key)
        except Transient:  # the owner is out of reach; its tombstone is here
            if live(target.history(change.key)):
                target.client.mark_deleted(change.key)
            return
        if not mine:
            for version in target.history(change.key):
                target.client.remove(change.key, version.id)
            return
        if not live(mine):
            self.pair.follow(change.key)
        if live(target.history(change.key)):
            target.client.mark_deleted(change.key)
        if live(mine) and age(change) < LINGER:
            raise Transient("The owner's store still shows an object that its rows deleted.")

    def _sha256(self, key: str, head: Mapping[str, str]) -> str:
        """The digest of what readers of the target get; "" for nothing."""
        target = self.pair.target
        if int(head.get("content-length", "0")) >= large.LARGE:
            return large.digest(target.place, key, "")
        content = target.client.read(key)
        return "" if content is None else content.sha256
