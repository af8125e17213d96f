"""The applier's rules, shared by the applier and by repair: keys are held, only newer versions count, done is noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lifecycle.systems.ledger import Change, Ledger


class Follower(Protocol):
    """One store of the region that follows, brought level from the owner's."""

    store: str
    batch: int

    def bring(self, changes: Sequence[Change]) -> Mapping[str, Exception]:
        """Carries out changes of different keys. Returns what failed, by key; everything else is done.

        Idempotent. Transient: try again; Permanent: a person must look. Neither text names a key.
        """

    def close(self) -> None: ...


@dataclass(slots=True)
class Outcome:
    """What one batch did."""

    applied: int = 0
    skipped: int = 0
    failed: dict[str, Exception] = field(default_factory=dict, repr=False)


def apply(ledger: Ledger, follower: Follower, changes: Sequence[Change]) -> Outcome:
    """Applies at most `LOCKS` changes of different keys to the follower, and notes which are done.

    A stop anywhere leaves changes unnoted, and they are carried out again.
    """
    outcome = Outcome()
    keys = [change.key for change in changes]
    with ledger.holding(follower.store, keys) as held:
        there = held.applied(keys)
        newer = [change for change in changes if there.get(change.key, -1) < change.version]
        outcome.skipped = len(changes) - len(newer)
        outcome.failed = dict(follower.bring(newer)) if newer else {}
        done = [change for change in newer if change.key not in outcome.failed]
        held.note(done)
        outcome.applied = len(done)
    return outcome
