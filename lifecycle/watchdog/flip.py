"""The owner of a tenant's writes changes: fence, drain, raise, promote. Never two owners, whatever dies in between.

The rows `lifecycle.route` of both regions are the state. The old owner is demoted first, for good, at a new epoch; then
what it wrote must have arrived; only then the new one is promoted at the same epoch. A crash leaves the tenant without
an owner, never with two, and the same call again finishes. Every statement is conditional on the epoch, so one that a
stopped server carries out when it wakes changes nothing that was decided since.

A side that doesn't answer is taken over once every lease that it may hold is over: then it refuses writes by itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from lifecycle.systems.base import Permanent, Transient
from lifecycle.watchdog.leases import Clock, Leases
from lifecycle.watchdog.lines import Line, LockBusy, Unreachable

INFINITE = "infinity"
_BLOCKED_S = 0.05
_VERSION_MARGIN = 10_000
_VERSION_LOCK = 7_301_902

# One round trip: what it stood at, the demotion, and the marker behind it in the tenant's stream. The lock is had first,
# and each statement of READ COMMITTED sees what committed before it.
_FENCE = """
BEGIN; SET LOCAL lock_timeout = %s; SELECT pg_advisory_xact_lock(lifecycle.tenant_lock(%s));
WITH stood AS (
  SELECT owner, epoch FROM lifecycle.route WHERE tenant_id = %s
), demoted AS (
  UPDATE lifecycle.route SET owner = %s, epoch = %s WHERE tenant_id = %s AND epoch <= %s RETURNING tenant_id
), marked AS (
  INSERT INTO lifecycle.probe (tenant_id, origin, id, at)
  SELECT d.tenant_id, h.region || '/fence', %s, clock_timestamp() FROM demoted d, lifecycle.here h
  ON CONFLICT (tenant_id, origin) DO UPDATE SET id = excluded.id, at = excluded.at
)
SELECT s.owner, s.epoch FROM stood s, demoted
"""
_DEMOTE = """
UPDATE lifecycle.route SET owner = %s, epoch = %s WHERE tenant_id = %s AND epoch <= %s RETURNING epoch
"""
_PROMOTE = """
UPDATE lifecycle.route SET owner = (SELECT region FROM lifecycle.here), epoch = %s, lease_until = %s
WHERE tenant_id = %s AND (epoch < %s OR (epoch = %s AND owner = (SELECT region FROM lifecycle.here)))
RETURNING epoch
"""
# A bigint's advisory lock: its halves are classid and objid.
_END_OLD_WRITERS = """
SELECT count(pg_terminate_backend(a.pid)) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.mode = 'ShareLock' AND l.database = (
    SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid::bigint = (lifecycle.tenant_lock(%s) >> 32) & 4294967295
  AND l.objid::bigint = lifecycle.tenant_lock(%s) & 4294967295
  AND a.xact_start < clock_timestamp() - make_interval(secs => %s)
"""
_STREAM_WORKERS = "SELECT pid FROM pg_stat_subscription WHERE subname = %s AND pid IS NOT NULL"
_END_STREAM_WORKERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_subscription WHERE subname = %s"
_RAISE_VERSION = """
SELECT setval('lifecycle.change_version', greatest(%s, (SELECT last_value FROM lifecycle.change_version),
  (SELECT coalesce(max(version), 0) FROM lifecycle.change WHERE tenant_id = %s)) + %s)
"""


class Superseded(Permanent):
    """A newer epoch stands in the route: this order is old."""


class NotDrained(Transient):
    """What the old owner wrote has not arrived in time. The tenant has no owner until the flip goes on or back."""


@dataclass(slots=True)
class Side:
    """One region of a move, as the flip needs it. Used by one thread at a time."""

    region: str
    line: Line
    leases: Leases


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. `writer`: how old a write transaction may be before it is ended; `drain`: how long what was written may
    take to arrive before a flip forth is given up, or a flip back goes on without the rest; `answer`: of one statement."""

    writer: float = 1.0
    fence: float = 3.0
    drain: float = 2.0
    answer: float = 1.0


@dataclass(frozen=True, slots=True)
class Flip:
    """What a flip did. `pause_ms`: how long nobody accepted writes. `drained`: everything had arrived.

    `ended_writers`: transactions older than the limit that were ended.
    """

    owner: str
    epoch: int
    pause_ms: float
    drained: bool
    taken_over: bool = False
    ended_writers: int = 0


@dataclass(frozen=True, slots=True)
class Fenced:
    """The old owner accepts nothing any more; `marker` is behind everything that it accepted.

    Not `owned`: it had not been the owner, so nothing of it is under way.
    """

    marker: int
    at: float
    ended_writers: int
    owned: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One change of owner: the whole input. `lease`: the new owner holds a lease (green), or owns for good (blue).

    `stream`: name of the subscription at the new owner that brings what the old one wrote. `lossy`: go on when the
    old owner's last writes don't arrive (a way back must end; with a safe soak they were answered only once they had
    arrived). `silent`: the old owner is known not to answer, so a lossy change doesn't try.
    """

    tenant: str
    old: Side
    new: Side
    epoch: int
    lease: bool
    stream: str
    lossy: bool
    limits: Limits = Limits()
    silent: bool = False


def run(change: Change, step: Callable[[str], None] = lambda _name: None) -> Flip:
    """Carries the change out, or finishes one that was interrupted. `step` is told before each part (tests stop there).

    Raises Superseded, NotDrained (not lossy: flip back with the next epoch), Unreachable (the new owner doesn't answer,
    or a flip forth met a silent old owner: nothing was changed), LockBusy (the fence was not had in time).
    """
    change.old.leases.stop(change.tenant)
    step("prepare")
    clock = Clock(change.new.line, change.limits.answer) if change.lease else None
    fenced: Fenced | None = None
    try:
        if change.silent and change.lossy:
            raise Unreachable(f"{change.old.region} does not answer.", sent=False)
        raise_version(change, _version_of(change.old, change.limits))
        step("fence")
        fenced = fence(change)
    except Unreachable:
        if not change.lossy:
            raise
        raise_version(change, 0)
        step("outwait")
        _outwait(change)
    drained = fenced is not None
    began = fenced.at if fenced else time.monotonic()
    try:
        step("drain")
        _drained(change, fenced)
    except NotDrained:
        if not change.lossy:
            raise
        drained = False
    if not drained:
        step("detach")
        detach(change.new.line, change.stream)
    step("promote")
    promote(change, clock)
    if fenced is not None:
        change.old.leases.forget(change.tenant)
    return Flip(
        owner=change.new.region,
        epoch=change.epoch,
        pause_ms=(time.monotonic() - began) * 1000,
        drained=drained,
        taken_over=fenced is None,
        ended_writers=fenced.ended_writers if fenced else 0,
    )


def fence(change: Change) -> Fenced:
    """Demotes the old owner under the tenant's exclusive lock, behind every writer, and leaves a marker in its stream.

    Writers that are older than the limit are ended. Raises LockBusy, Unreachable, Superseded.
    """
    line, limits = change.old.line, change.limits
    deadline = time.monotonic() + limits.fence
    allowed_from = time.monotonic() + limits.writer
    ended = 0
    while True:
        try:
            return _fence_once(change, ended)
        except LockBusy:
            with contextlib.suppress(Unreachable):
                line("ROLLBACK", seconds=limits.answer)
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > allowed_from:
            row = line(_END_OLD_WRITERS, [change.tenant, change.tenant, limits.writer], seconds=limits.answer)
            ended += row[0][0]
        else:
            time.sleep(_BLOCKED_S / 2)  # the writers that queued behind the attempt get their turn


def _fence_once(change: Change, ended: int) -> Fenced:
    line, answer, tenant = change.old.line, change.limits.answer, change.tenant
    at, marker = time.monotonic(), time.time_ns() // 1000
    stood = line(
        _FENCE,
        [
            int(_BLOCKED_S * 1000),
            tenant,
            tenant,
            change.new.region,
            change.epoch,
            tenant,
            change.epoch,
            marker,
        ],
        seconds=answer,
    )
    if not stood:
        line("ROLLBACK", seconds=answer)
        raise Superseded(f"{change.old.region} has no route of this tenant at or below epoch {change.epoch}.")
    line("COMMIT", seconds=answer)
    owner, epoch = stood[0]
    return Fenced(marker, at, ended, owned=owner == change.old.region or epoch == change.epoch)


def promote(change: Change, clock: Clock | None) -> None:
    """The new owner accepts writes from here on, until its lease ends. Raises Superseded, Unreachable."""
    until: datetime | str = change.new.leases.give(change.tenant, change.epoch, clock) if clock else INFINITE
    parameters = [change.epoch, until, change.tenant, change.epoch, change.epoch]
    if not change.new.line(_PROMOTE, parameters, seconds=change.limits.answer):
        raise Superseded(f"{change.new.region} has no route of this tenant at or below epoch {change.epoch}.")


def demote(side: Side, tenant: str, owner: str, epoch: int, limits: Limits = Limits()) -> bool:
    """Tells a side that was taken over, now that it answers again, who owns the tenant. True if it had to be told."""
    rows = side.line(
        "SELECT 1 FROM lifecycle.route WHERE tenant_id = %s AND epoch < %s",
        [tenant, epoch],
        seconds=limits.answer,
    )
    if not rows:
        return False
    side.leases.stop(tenant)
    side.line(_DEMOTE, [owner, epoch, tenant, epoch], seconds=limits.answer)
    side.leases.forget(tenant)
    return True


def _outwait(change: Change) -> None:
    while (left := change.old.leases.ends(change.tenant) - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


def _drained(change: Change, fenced: Fenced | None) -> None:
    """Waits until the new owner has all of the old one, or, after a takeover, until nothing more comes."""
    line, limits = change.new.line, change.limits
    if fenced is None:
        _settled(change)
        return
    if not fenced.owned:
        return
    deadline = time.monotonic() + limits.drain
    while True:
        rows = line(
            "SELECT 1 FROM lifecycle.probe WHERE tenant_id = %s AND origin = %s AND id >= %s",
            [change.tenant, f"{change.old.region}/fence", fenced.marker],
            seconds=limits.answer,
        )
        if rows:
            return
        if time.monotonic() > deadline:
            raise NotDrained(f"What {change.old.region} wrote did not arrive within {limits.drain:.0f} s.")
        time.sleep(0.001)


def _settled(change: Change) -> None:
    deadline, last = time.monotonic() + 0.5, None
    while time.monotonic() < deadline:
        rows = change.new.line(
            "SELECT received_lsn, latest_end_lsn FROM pg_stat_subscription WHERE subname = %s AND relid IS NULL",
            [change.stream],
            seconds=change.limits.answer,
        )
        if not rows or rows == last:
            return
        last = rows
        time.sleep(0.1)


def detach(line: Line, stream: str, seconds: float = 1.0) -> None:
    """Stops the stream for good before its target owns again: what is still on the way must not overwrite newer rows.

    Its slot stays at the other side, for the post-mortem.
    """
    if not line("SELECT 1 FROM pg_subscription WHERE subname = %s AND subenabled", [stream], seconds=seconds):
        return
    line(f'ALTER SUBSCRIPTION "{_identifier(stream)}" DISABLE', seconds=seconds)
    deadline = time.monotonic() + 2 * seconds
    while line(_STREAM_WORKERS, [stream], seconds=seconds):
        if time.monotonic() > deadline:
            raise Transient("A stream that was switched off still applies changes.")
        line(_END_STREAM_WORKERS, [stream], seconds=seconds)
        time.sleep(0.02)


def raise_version(change: Change, theirs: int) -> None:
    """Changes of the new owner count as newer than all of the old one's: above `theirs` and what arrived, with a margin
    for what is written until the fence."""
    line, answer = change.new.line, change.limits.answer
    # Two flips at once must not set it back for each other.
    line("BEGIN; SELECT pg_advisory_xact_lock(%s)", [_VERSION_LOCK], seconds=answer)
    line(_RAISE_VERSION, [theirs, change.tenant, _VERSION_MARGIN], seconds=answer)
    line("COMMIT", seconds=answer)


def _version_of(side: Side, limits: Limits) -> int:
    return int(side.line("SELECT last_value FROM lifecycle.change_version", seconds=limits.answer)[0][0])


def _identifier(name: str) -> str:
    if not name.replace("_", "").isalnum():
        raise Permanent("Names of streams have letters, digits and _ only.")
    return name
