"""What many moves at once do to the machine: slots, origins, sessions, processors, log; and how often each is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from demo.stack import control
from demo.stack.place import CHECKOUT
from tests.lifecycle.trials.moves.moving import BLUE, GREEN, Moving

TICKS = os.sysconf("SC_CLK_TCK")
_USED = """
SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_replication_origin),
  (SELECT count(*) FROM pg_stat_replication), (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL),
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
"""
USED = ("max_replication_slots", "max_active_replication_origins", "max_wal_senders",
        "max_logical_replication_workers", "max_connections")  # fmt: skip


@dataclass
class Fleet:
    """Moves that were started together, and what a thread sees of them every half second."""

    moving: Moving
    moves: dict[str, str] = field(default_factory=dict)  # move -> tenant
    peak: dict[str, dict[str, int]] = field(default_factory=lambda: {BLUE: {}, GREEN: {}})
    copying: int = 0
    comparing: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def words(self, *words: Any, timeout: float = 600) -> Any:
        """One command of `many`, its JSON. What is no text is given as JSON."""
        told = [each if isinstance(each, str) else json.dumps(each) for each in words]
        done = subprocess.run(
            [sys.executable, "-m", "tests.lifecycle.trials.moves.many", *told],
            cwd=CHECKOUT, env=self.moving.live.env(), capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    def begin(self, number: int) -> None:
        """Seeds, plans and starts so many; they are watched from now on."""
        threading.Thread(target=self._look, daemon=True).start()
        self.moves = {each["move"]: each["tenant"] for each in self.words("begin", str(number))}

    def live(self) -> list[str]:
        """Those that did not go back."""
        rows = self.control(
            "SELECT id FROM lifecycle_migration WHERE id = ANY(%s) AND state <> 'rolled_back'",
            list(self.moves),
        )
        return [str(row[0]) for row in rows]

    def complete(self) -> None:
        """The second person's word for all that wait for it."""
        self.words("complete", *self.live())

    def discard(self) -> list[str]:
        """Kept greens of those that went back are given up; which those were."""
        back = sorted(set(self.moves) - set(self.live()))
        ended = "SELECT count(*) FROM lifecycle_run r JOIN lifecycle_migration m ON r.subject = m.id WHERE m.id = ANY(%s) AND {}"
        ends = time.monotonic() + 300
        while self.control(ended.format("r.workflow = 'migration' AND r.state <> 'cancelled'"), back) != [
            (0,)
        ]:
            assert time.monotonic() < ends, self.troubles()
            time.sleep(1)
        self.words("discard", *back)
        while self.control(ended.format("r.workflow <> 'migration' AND r.state <> 'done'"), back) != [(0,)]:
            assert time.monotonic() < ends, self.troubles()
            time.sleep(1)
        return back

    def end(self) -> None:
        """Looks no more."""
        self._stop.set()

    # Asking

    def control(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the control database answers."""
        return _ask(self.moving.stack["control"], statement, values)

    def region(self, region: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a region's database answers."""
        return _ask(self.moving.stack["regions"][region]["postgres_mover"], statement, values)

    def write(self, region: str, statement: str, *values: Any) -> None:
        """As the platform writes."""
        with closing(psycopg2.connect(self.moving.stack["regions"][region]["postgres"])) as line, line:
            line.cursor().execute(statement, list(values))

    def states(self) -> Counter[str]:
        """How many moves are in each state; `waits` are those that only lack the second person's word."""
        rows = self.control(
            "SELECT m.state, (SELECT s.state FROM lifecycle_step s WHERE s.run_id = m.run_id AND s.name = 'soak')"
            " FROM lifecycle_migration m WHERE m.id = ANY(%s)",
            list(self.moves),
        )
        soaked = sum(1 for state, soak in rows if state == "traffic_cutover_complete" and str(soak) == "done")
        return Counter(str(state) for state, _ in rows) + Counter(waits=soaked)

    def until(self, wanted: Callable[[Counter[str]], bool], seconds: float) -> float:
        """Polls; returns how long it took. Fails with what the steps say."""
        began = time.monotonic()
        while not wanted(now := self.states()):
            assert time.monotonic() - began < seconds, (dict(now), self.troubles())
            time.sleep(1)
        return time.monotonic() - began

    def troubles(self) -> list[tuple[Any, ...]]:
        """Why moves wait or went back, the most frequent first."""
        return self.control(
            "SELECT count(*), s.name, s.state, left(s.error, 160) FROM lifecycle_step s"
            " JOIN lifecycle_migration m ON m.run_id = s.run_id"
            " WHERE m.id = ANY(%(moves)s) AND s.error <> '' GROUP BY 2, 3, 4"
            " UNION ALL SELECT count(*), 'reason', state, left(reason, 160) FROM lifecycle_migration"
            " WHERE id = ANY(%(moves)s) AND reason <> '' GROUP BY 3, 4 ORDER BY 1 DESC LIMIT 20",
            {"moves": list(self.moves)},
        )

    def gaps(self, since: float, until: float, moves: list[str]) -> dict[str, float]:
        """The longest time between two looks at each of the moves, edges included, by the watchdog's own readings."""
        rows = self.control(
            "SELECT migration_id, extract(epoch FROM at)::float8 FROM lifecycle_reading"
            " WHERE migration_id = ANY(%s) AND at BETWEEN to_timestamp(%s) AND to_timestamp(%s) ORDER BY at",
            moves, since, until,
        )  # fmt: skip
        looks: dict[str, list[float]] = {move: [since] for move in moves}
        for move, at in rows:
            looks[move].append(at)
        return {
            move: max(b - a for a, b in zip(each, [*each[1:], until], strict=True))
            for move, each in looks.items()
        }

    def readings(self, since: float, until: float) -> list[Mapping[str, Any]]:
        """All readings between two moments (seconds since 1970)."""
        return [
            row[0]
            for row in self.control(
                "SELECT data FROM lifecycle_reading WHERE migration_id = ANY(%s) AND at BETWEEN to_timestamp(%s)"
                " AND to_timestamp(%s)",
                list(self.moves), since, until,
            )
        ]  # fmt: skip

    def turns(self) -> list[str]:
        """The moves in the order in which they began to copy."""
        rows = self.control(
            "SELECT case_id FROM compliance_auditevent WHERE verb = 'migration.moved' AND case_id = ANY(%s)"
            " AND data ->> 'to' = 'initial_sync' ORDER BY seq",
            list(self.moves),
        )
        return [str(row[0]) for row in rows]

    def left(self) -> list[str]:
        """What bears any of the moves' names in either region."""
        found = []
        for move, tenant in self.moves.items():
            self.moving.move, self.moving.tenant = move, tenant
            found += self.moving.left()
        for region in (BLUE, GREEN):
            found += [
                f"{region} {each}"
                for (each,) in self.region(region, "SELECT roname::text FROM pg_replication_origin")
            ]
        return found

    # Measuring

    def limits(self, region: str) -> dict[str, int]:
        """What a region's database allows of each."""
        return {
            name: int(self.region(region, "SELECT current_setting(%s)::int", name)[0][0]) for name in USED
        }

    def lsn(self, region: str) -> int:
        """Bytes of log written so far."""
        return int(self.region(region, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0])

    def spent(self) -> dict[str, float]:
        """Seconds of processor so far, by kind of process."""
        named = {each["pid"]: each["name"] for each in control.status(self.moving.live.run_dir)}
        named |= {each.pid: name for name, each in self.moving.processes.items()}
        return spent(named)

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            for region in (BLUE, GREEN):
                peak = self.peak[region]
                for name, value in zip(USED, self.region(region, _USED)[0], strict=True):
                    peak[name] = max(peak.get(name, 0), int(value))
            noting = self.region(
                BLUE, "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'mv%%chk'"
            )
            self.comparing = max(self.comparing, int(noting[0][0]))
            copying = self.control("SELECT count(*) FROM lifecycle_migration WHERE state = 'initial_sync'")
            self.copying = max(self.copying, int(copying[0][0]))


def spent(named: Mapping[int, str]) -> dict[str, float]:
    """Seconds of processor of all processes below the named ones. PostgreSQL's are told apart by what they do."""
    parents: dict[int, tuple[int, float, str]] = {}
    for each in Path("/proc").iterdir():
        if not each.name.isdigit():
            continue
        try:
            fields = (each / "stat").read_text().rpartition(")")[2].split()
            words = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        parents[int(each.name)] = (int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS, words)
    found: dict[str, float] = {}
    for pid, (_, seconds, words) in parents.items():
        name = _root(pid, parents, named)
        if not name:
            continue
        if name.startswith("postgres-us"):
            kind = next((k for k in ("walsender", "logical replication") if k in words), "sessions")
            name = f"{name} {kind}"
        found[name] = found.get(name, 0.0) + seconds
    return found


def _root(pid: int, parents: Mapping[int, tuple[int, float, str]], named: Mapping[int, str]) -> str:
    while pid in parents:
        if pid in named:
            return named[pid]
        pid = parents[pid][0]
    return ""


def _ask(dsn: str, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    given = values[0] if len(values) == 1 and isinstance(values[0], dict) else list(values)
    with closing(psycopg2.connect(dsn)) as line, line.cursor() as cursor:
        cursor.execute(statement, given)
        return list(cursor.fetchall())
