"""The applier's rules, shared by the applier and by repair: keys are held, only newer versions count, done is noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from lifecycle.systems.base import Transient
from lifecycle.systems.ledger import Change, Ledger

LINGER = 10.0  # seconds that a change is given before it counts as stuck


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


def apply(
    ledger: Ledger, follower: Follower, changes: Sequence[Change], owner: Ledger | None = None
) -> Outcome:
    """Applies at most `LOCKS` changes of different keys to the follower, and notes which are done.

    A stop anywhere leaves changes unnoted, and they are carried out again. What fails for `LINGER` seconds may have been
    overtaken by a write of which the follower's database has no row (it was not copied); `owner`, the owner's ledger,
    then tells, and that newer change is carried out instead.
    """
    outcome = Outcome()
    keys = [change.key for change in changes]
    with ledger.holding(follower.store, keys) as held:
        there = held.applied(keys)
        newer = [change for change in changes if there.get(change.key, -1) < change.version]
        outcome.skipped = len(changes) - len(newer)
        failed = dict(follower.bring(newer)) if newer else {}
        done = [change for change in newer if change.key not in failed]
        stuck = [change for change in newer if change.key in failed and age(change) > LINGER]
        overtaken = _overtaken(owner, follower.store, stuck)
        if overtaken:
            still = follower.bring(overtaken)
            done += [change for change in overtaken if change.key not in still]
            failed = {key: error for key, error in failed.items() if key not in {each.key for each in done}}
        held.note(done)
    outcome.applied, outcome.failed = len(done), failed
    return outcome


def age(change: Change) -> float:
    """Seconds since the change was written, by this machine's clock."""
    return (datetime.now(UTC) - change.at).total_seconds()


def _overtaken(owner: Ledger | None, store: str, changes: Sequence[Change]) -> list[Change]:
    if owner is None or not changes:
        return []
    try:
        newest = owner.newest(store, [change.key for change in changes])
    except Transient:  # an owner out of reach: it stays lag
        return []
    return [newest[c.key] for c in changes if c.key in newest and newest[c.key].version > c.version]
