"""What the watch knows of each region's database: whether it answers, the leases there, how far the other side follows.

Every database has threads of its own, so one that hangs holds up nobody else's lease.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psycopg2

from lifecycle.systems.base import Transient
from lifecycle.watchdog.leases import RENEW_S, Clock, Leases
from lifecycle.watchdog.lines import Line, Unreachable

log = logging.getLogger("lifecycle.watchdog")

_CLOCK_S = 20.0
_PERIOD_S = 1.0
_SLOW_PERIOD_S = 4.0
_KNOCK_S = 0.7  # a new session takes 20 ms, and a few hundred where two cores carry everything

_READY = """
INSERT INTO lifecycle.probe (tenant_id, origin, id, at)
SELECT t, region || '/ready', %s, clock_timestamp() FROM lifecycle.here, unnest(%s::text[]) t ORDER BY t
ON CONFLICT (tenant_id, origin) DO UPDATE SET id = excluded.id, at = excluded.at
"""
_ARRIVED = "SELECT tenant_id, id FROM lifecycle.probe WHERE tenant_id = ANY(%s) AND origin = %s"
_SLOTS = """
SELECT slot_name, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint
FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()
"""
# Conflicts that stop or falsify the apply; counted per subscription from PostgreSQL 18 on.
_CONFLICTS = """
SELECT subname, coalesce((s.j ->> 'confl_insert_exists')::bigint, 0) + coalesce((s.j ->> 'confl_update_exists')::bigint, 0)
  + coalesce((s.j ->> 'confl_multiple_unique_conflicts')::bigint, 0)
FROM (SELECT subname, to_jsonb(t) j FROM pg_stat_subscription_stats t) s
"""
_BEHIND = """
SELECT c.tenant_id, count(*) FROM lifecycle.change c
WHERE c.tenant_id = ANY(%s) AND c.origin <> (SELECT region FROM lifecycle.here) AND NOT EXISTS (
  SELECT FROM lifecycle.applied a WHERE a.tenant_id = c.tenant_id AND a.store = c.store AND a.key = c.key
    AND a.version >= c.version)
GROUP BY c.tenant_id
"""
_WRITTEN_SINCE = """
SELECT c.tenant_id, count(*) FROM lifecycle.change c JOIN unnest(%s::text[], %s::float8[]) u (tenant, since)
  ON u.tenant = c.tenant_id AND c.at > to_timestamp(u.since)
WHERE c.origin = (SELECT region FROM lifecycle.here) GROUP BY c.tenant_id
"""


@dataclass(slots=True)
class Region:
    """One database: its leases, and how often in a row it did not answer. `dsn` is a secret.

    `silent`: what is open is not answered; `shut`: no new session is had. Either may fail alone: a server whose main
    process hangs serves whoever is connected, and an application without a free connection hangs.
    """

    name: str
    dsn: str = field(repr=False)
    leases: Leases = field(default_factory=Leases)
    silent: int = 0
    shut: int = 0
    slots: Mapping[str, int] = field(default_factory=dict)
    conflicts: Mapping[str, int] = field(default_factory=dict)
    behind: Mapping[str, int] = field(default_factory=dict)
    behind_at: float = 0.0
    tenants: frozenset[str] = frozenset()
    stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begins to renew and to look."""
        for job in (self._renew, self._knock, self._look):
            threading.Thread(target=job, name=f"{job.__name__} {self.name}", daemon=True).start()

    @property
    def failures(self) -> int:
        """How often in a row the database failed, in either way."""
        return max(self.silent, self.shut)

    def _renew(self) -> None:
        line, clock, asked = Line(self.dsn, name="watchdog leases"), None, 0.0
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                if clock is None or began - asked > _CLOCK_S:
                    clock, asked = Clock(line, 0.4), began
                self.leases.renew(line, clock)
                if not self.leases.any():
                    line("SELECT 1", seconds=0.4)
                self.silent = 0
            except (Transient, psycopg2.Error) as failure:
                self.silent += 1
                clock = None if isinstance(failure, Unreachable) else clock
                log.warning("Leases of %s were not renewed (%s).", self.name, type(failure).__name__)
            self.stop.wait(max(0.05, RENEW_S - (time.monotonic() - began)))
        line.close()

    def _knock(self) -> None:
        while not self.stop.is_set():
            began, line = time.monotonic(), Line(self.dsn, name="watchdog knock")
            try:
                line("SELECT 1", seconds=_KNOCK_S)
                self.shut = 0
            except (Transient, psycopg2.Error):
                self.shut += 1
            finally:
                line.close()
            self.stop.wait(max(0.1, (_KNOCK_S if self.shut else _PERIOD_S) - (time.monotonic() - began)))

    def _look(self) -> None:
        line = Line(self.dsn, name="watchdog lag")
        while not self.stop.is_set():
            try:
                self.slots = dict(line(_SLOTS))
                self.conflicts = dict(line(_CONFLICTS))
                if self.tenants:
                    self.behind = dict(line(_BEHIND, [sorted(self.tenants)], seconds=4.0))
                    self.behind_at = time.monotonic()
            except (Transient, psycopg2.Error) as failure:
                log.debug("Lags of %s were not read (%s).", self.name, type(failure).__name__)
            self.stop.wait(_SLOW_PERIOD_S)
        line.close()


@dataclass(slots=True)
class Arrival:
    """The newest probe row of one tenant that arrived at the other side.

    `seconds`: how long it took; `written`, `seen`: when (monotonic); `at`: when it was written, as Unix time.
    `at_risk`: changes that were written since and not seen there.
    """

    seconds: float
    written: float
    seen: float
    at: float
    at_risk: int = 0


class Flow:
    """Writes a row for each tenant at one side every second and waits for it at the other: the stream's true lag."""

    def __init__(self, source: Region, target: Region) -> None:
        self.source, self.target = source, target
        self.arrivals: dict[str, Arrival] = {}
        self.resting: frozenset[str] = frozenset()  # tenants of whom nothing comes this way any more
        self.last_try = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"flow to {target.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()

    def _run(self) -> None:
        here, there = Line(self.source.dsn, name="watchdog flow"), Line(self.target.dsn, name="watchdog flow")
        while not self._stop.is_set():
            began = time.monotonic()
            tenants = sorted((self.source.tenants & self.target.tenants) - self.resting)
            try:
                if tenants:
                    self._probe(here, there, tenants, began)
                    self.last_try = time.monotonic()
            except (Transient, psycopg2.Error) as failure:
                log.debug("The flow to %s was not measured (%s).", self.target.name, type(failure).__name__)
            self._stop.wait(max(0.1, _PERIOD_S - (time.monotonic() - began)))
        here.close()
        there.close()

    def _probe(self, here: Line, there: Line, tenants: list[str], began: float) -> None:
        at = time.time()
        mark = int(at * 1_000_000)
        here(_READY, [mark, tenants])
        sent, missing, step = time.monotonic(), set(tenants), 0.002
        while missing and time.monotonic() - sent < _PERIOD_S and not self._stop.is_set():
            rows = there(_ARRIVED, [list(missing), f"{self.source.name}/ready"])
            now = time.monotonic()
            for tenant in [tenant for tenant, found in rows if found >= mark]:
                self.arrivals[tenant] = Arrival(now - sent, began, now, at)
                missing.discard(tenant)
            time.sleep(step)
            step = min(step * 1.5, 0.05)
        late = [tenant for tenant in missing if tenant in self.arrivals]
        if late:
            counts = dict(here(_WRITTEN_SINCE, [late, [self.arrivals[tenant].at for tenant in late]]))
            for tenant in late:
                self.arrivals[tenant].at_risk = counts.get(tenant, 0)


class Regions:
    """All databases and flows that live moves need, by resolved address. Used by the watch's own thread."""

    def __init__(self, made: Callable[[str, str], Region] = Region) -> None:
        self._make = made
        self._regions: dict[str, Region] = {}
        self._flows: dict[tuple[str, str], Flow] = {}

    def get(self, name: str, dsn: str) -> Region:
        """The region behind `dsn`, watched from now on."""
        if dsn not in self._regions:
            self._regions[dsn] = self._make(name, dsn)
            self._regions[dsn].start()
        return self._regions[dsn]

    def flow(self, source: Region, target: Region) -> Flow:
        """The flow from one to the other, measured from now on."""
        key = (source.dsn, target.dsn)
        if key not in self._flows:
            self._flows[key] = Flow(source, target)
        return self._flows[key]

    def share(self, tenants: Mapping[str, set[str]], resting: Mapping[tuple[str, str], set[str]]) -> None:
        """Which tenants are measured, by DSN; and for whom one direction is not, by its two."""
        for dsn, region in self._regions.items():
            region.tenants = frozenset(tenants.get(dsn, ()))
        for ends, flow in self._flows.items():
            flow.resting = frozenset(resting.get(ends, ()))

    def close(self) -> None:
        """Ends all threads."""
        for flow in self._flows.values():
            flow.close()
        for region in self._regions.values():
            region.stop.set()
