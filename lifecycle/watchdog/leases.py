"""Until when a region may accept writes of a tenant, at the latest, whatever became of what we sent.

A lease is an absolute time on that database's clock. The book knows, on our own monotonic clock, when the last lease
that we may have given is over; a takeover waits for that and a margin.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from lifecycle.watchdog.lines import Line, Unreachable

LEASE_S = 1.5
RENEW_S = 0.5
MARGIN_S = 0.5

_RENEW = """
WITH due AS (
  SELECT r.tenant_id, v.until FROM lifecycle.route r
  JOIN (SELECT * FROM unnest(%s::text[], %s::bigint[], %s::timestamptz[]) AS u(tenant_id, epoch, until)) v
    ON v.tenant_id = r.tenant_id AND v.epoch = r.epoch
  WHERE r.owner = (SELECT region FROM lifecycle.here) AND r.lease_until <> 'infinity'
  FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE lifecycle.route r SET lease_until = due.until FROM due WHERE r.tenant_id = due.tenant_id
RETURNING r.tenant_id
"""


@dataclass(slots=True)
class _Lease:
    epoch: int
    ends: float
    renewing: bool


class Leases:
    """The book of one region's leases. Any thread may use it.

    A new book doesn't know what its predecessor gave, so it counts from its own beginning.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Lease] = {}
        self._begun = time.monotonic()

    def give(self, tenant: str, epoch: int, clock: Clock) -> datetime:
        """Notes a lease before it is sent; returns its end on the database's clock."""
        with self._lock:
            now = time.monotonic()
            self._known[tenant] = _Lease(epoch, now + LEASE_S, True)
        return clock.at(now) + timedelta(seconds=LEASE_S)

    def adopt(self, tenant: str, epoch: int) -> None:
        """Renews from now on what a predecessor gave (or a promotion of ours did)."""
        with self._lock:
            known = self._known.get(tenant)
            if known is None or known.epoch != epoch:
                self._known[tenant] = _Lease(epoch, time.monotonic() + LEASE_S, True)

    def stop(self, tenant: str) -> None:
        """No renewal is sent any more: once this returns, `ends` is final."""
        with self._lock:
            if tenant in self._known:
                self._known[tenant].renewing = False

    def ends(self, tenant: str) -> float:
        """When every lease of the tenant is over, on our monotonic clock, margin included."""
        with self._lock:
            known = self._known.get(tenant)
            return (known.ends if known else self._begun + LEASE_S) + MARGIN_S

    def forget(self, tenant: str) -> None:
        """The region doesn't own the tenant any more and said so itself."""
        with self._lock:
            self._known.pop(tenant, None)

    def any(self) -> bool:
        """Whether any lease is being renewed."""
        with self._lock:
            return any(each.renewing for each in self._known.values())

    def renew(self, line: Line, clock: Clock, seconds: float = 0.4) -> set[str]:
        """Renews all leases of the region in one statement; returns the tenants that it renewed. Raises Unreachable."""
        with self._lock:
            now = time.monotonic()
            due: Mapping[str, _Lease] = {
                tenant: each for tenant, each in self._known.items() if each.renewing
            }
            if not due:
                return set()
            before = {tenant: each.ends for tenant, each in due.items()}
            for each in due.values():
                each.ends = now + LEASE_S
            epochs = [each.epoch for each in due.values()]
        until = clock.at(now) + timedelta(seconds=LEASE_S)
        try:
            rows = line(_RENEW, [list(due), epochs, [until] * len(due)], seconds=seconds)
        except Unreachable as failure:
            if not failure.sent:
                self._take_back(due, before)
            raise
        return {row[0] for row in rows}

    def _take_back(self, due: Mapping[str, _Lease], before: Mapping[str, float]) -> None:
        """Nothing left this machine, so nothing was given."""
        with self._lock:
            for tenant, each in due.items():
                each.ends = before[tenant]


class Clock:
    """A database's clock as far as we know it: never ahead of it."""

    def __init__(self, line: Line, seconds: float = 0.5) -> None:
        """Asks the database. Raises Unreachable."""
        (found,) = line("SELECT clock_timestamp()", seconds=seconds)
        # By now the database's clock shows at least what it said.
        self._monotonic = time.monotonic()
        self._said: datetime = found[0]

    def at(self, monotonic: float) -> datetime:
        """The database's time at a moment of our monotonic clock."""
        return self._said + timedelta(seconds=monotonic - self._monotonic)
