"""A move under load by the live program: command line, workers, watchdog, applier and load as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg2

from demo.load.checking import Missing, check
from demo.load.ledger import Entry, entries
from demo.stack import control
from demo.stack.place import CHECKOUT
from tests.lifecycle.trials.live import Live
from tests.lifecycle.watchdog.test_dead import family

BLUE, GREEN = "us-east-1", "us-west-2"
OURS = ("watchdog", "applier", "qcluster")
IN_APP = ("errors", "latency", "wrong", "hang", "crash")
ENDS = ("completed", "rolled_back", "failed")
_LEFT = {
    "slot": "SELECT slot_name::text FROM pg_replication_slots",
    "publication": "SELECT pubname::text FROM pg_publication",
    "subscription": "SELECT subname::text FROM pg_subscription",
    "schema": "SELECT nspname::text FROM pg_namespace",
}


@dataclass
class Moving:
    """One tenant, its move and its load."""

    live: Live
    stack: dict[str, Any]
    folder: Path
    tenant: str = ""
    move: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def ledger(self) -> Path:
        """Of the load."""
        return self.folder / f"{self.tenant}.jsonl"

    def start(self, name: str, *words: str) -> None:
        """A process of its own group, so that a kill reaches its children."""
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [sys.executable, *words],
            cwd=CHECKOUT, env=self.live.env(), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    def kill(self, name: str) -> None:
        """kill -9 of one of our processes with all its children; then it is started again."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes.pop(name).wait()
        self.start(name, "manage.py", name)

    def end(self) -> None:
        """Ends every process: asked first."""
        for each in self.processes.values():
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGTERM)
        for each in self.processes.values():
            try:
                each.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(each.pid, signal.SIGKILL)
                each.wait(10)
        self.processes.clear()

    def begin(self, *more: str, soak: str = "safe") -> None:
        """A new tenant under load, and its move, started."""
        self.tenant, _ = self.live.tenant("ada", "bob")
        load = ("--tenant", self.tenant, "--rate", "10", "--threads", "8", "--seconds", "900")
        self.start("load", "-m", "demo.load", *load, "--ledger", str(self.ledger))
        plan = self.live.ask(
            "migration", "plan", "--tenant", self.tenant, "--to", GREEN, "--as", "engineer", "--soak", soak,
            "--no-prometheus", "--steps", "50,100", "--step-seconds", "2", "--soak-seconds", "5",
            "--gates", '{"floor_ms": 800}', *more,
        )  # fmt: skip
        self.move = plan["id"]
        self.live.ask("migration", "start", self.move, "--as", "engineer", "--digest", plan["digest"])

    def now(self) -> tuple[str, int, str]:
        """State, share and owner, as the control database has them; no command is started for it."""
        found = self.live.control.rows(
            "SELECT m.state, coalesce(o.share, 0), coalesce(o.owner, '') FROM lifecycle_migration m"
            " LEFT JOIN lifecycle_order o ON o.migration_id = m.id WHERE m.id = %s",
            self.move,
        )
        state, share, owner = found[0] if found else ("", 0, "")
        return str(state), int(share), str(owner)

    def until(self, wanted: Callable[[tuple[str, int, str]], bool], seconds: float = 120) -> None:
        """Polls; fails with what the command line says of the move."""
        ends = time.monotonic() + seconds
        while not wanted(self.now()):
            if time.monotonic() > ends:
                status = self.live.ask("migration", "status", self.move)
                raise AssertionError(f"not within {seconds} s: {json.dumps(status)}")
            time.sleep(0.05)

    def inflict(self, fault: str) -> float:
        """Makes green ill, or kills one of ours; returns when (seconds since 1970)."""
        at = time.time()
        if fault in OURS:
            self.kill(fault)
        elif fault in IN_APP:
            body = {"kind": fault, "tenant": self.tenant, "ms": 3000}
            self._faults("POST", body)
        elif fault == "dead":
            control.stop(self.live.run_dir, f"postgres-{GREEN}")
        else:
            self._signal(fault, signal.SIGSTOP)
        return at

    def heal(self, fault: str) -> None:
        """Takes the fault away: what slept is woken."""
        if fault in IN_APP:
            self._faults("DELETE", None)
        elif fault == "dead":
            control.start(self.live.run_dir, f"postgres-{GREEN}")
        elif fault not in OURS:
            self._signal(fault, signal.SIGCONT)

    def _signal(self, fault: str, number: signal.Signals) -> None:
        """Fault `shut`: green's PostgreSQL takes no new sessions; `database`: it hangs; `region`: all of green that has
        a state, and the application."""
        database = f"postgres-{GREEN}"
        others = [f"app-{GREEN}", f"s3-{GREEN}", f"pinecone-{GREEN}"] if fault == "region" else []
        for name in others:
            control.signal_server(self.live.run_dir, name, number)
        main = next(
            int(each["pid"]) for each in control.status(self.live.run_dir) if each["name"] == database
        )
        for pid in [main] if fault == "shut" else family(main):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _faults(self, method: str, body: Any) -> None:
        url = f"{self.stack['regions'][GREEN]['app']}/_faults"
        for _ in range(100):
            try:
                headers = {"x-trial-key": self.stack["trial_key"]}
                answer = httpx.request(method, url, json=body, headers=headers, timeout=5)
            except httpx.TransportError:  # a crashed service is being started again
                time.sleep(0.1)
                continue
            assert answer.status_code < 300, answer.text
            return
        raise AssertionError("green's service did not come back")

    def after(self, fault: float) -> tuple[float, float]:
        """Seconds from the fault to the first write on blue that began after it and was acknowledged, and to the last
        failed request; (inf, 0) without any."""
        told = [each for each in entries(self.ledger) if each.at > fault]
        blue = [each.at for each in told if each.acknowledged and each.owner == BLUE and _began(each) > fault]
        failed = [each.at for each in told if each.failed]
        return min(blue, default=float("inf")) - fault, max(failed, default=fault) - fault

    def reading(self) -> dict[str, Any]:
        """The newest reading of both sides, and `at`, when it was taken (seconds since 1970)."""
        found = self.live.control.rows(
            "SELECT data, extract(epoch FROM at)::float8 FROM lifecycle_reading WHERE migration_id = %s"
            " ORDER BY id DESC LIMIT 1",
            self.move,
        )
        data, at = found[0] if found else ({}, time.time())
        return {**data, "at": at}

    def two_owners(self) -> int:
        """Writes that green acknowledged although they began after a write that blue acknowledged after the flip."""
        kept = [each for each in entries(self.ledger) if each.acknowledged]
        flipped = min((each.at for each in kept if each.owner == GREEN), default=float("inf"))
        back = min(
            (each.at for each in kept if each.owner == BLUE and _began(each) > flipped), default=float("inf")
        )
        return sum(1 for each in kept if each.owner == GREEN and _began(each) > back)

    def missing(self) -> list[Missing]:
        """Ends the load; acknowledged writes that the owner does not have."""
        load = self.processes.pop("load")
        load.terminate()
        load.wait(30)
        owner = {row for row in self._owners() if row}
        assert len(owner) == 1, f"owners of the tenant: {owner}"
        return check(self.ledger, self.stack, self.tenant, owner.pop())

    def _owners(self) -> list[str]:
        return [
            str(owner)
            for region in (BLUE, GREEN)
            for (owner,) in self._rows(
                region, f"SELECT owner FROM lifecycle.route WHERE tenant_id = '{self.tenant}'"
            )
        ]

    def left(self) -> list[str]:
        """What bears the move's name in either region's database, and Terraform's folder."""
        name = self.move.replace("-", "_")
        found = [
            f"{region} {kind} {each}"
            for region in (BLUE, GREEN)
            for kind, statement in _LEFT.items()
            for (each,) in self._rows(region, statement)
            if name in each
        ]
        return found + [str(each) for each in [self.live.run_dir / "terraform" / name] if each.exists()]

    def _rows(self, region: str, statement: str) -> list[tuple[Any, ...]]:
        with (
            closing(psycopg2.connect(self.stack["regions"][region]["postgres_mover"])) as line,
            line.cursor() as cursor,
        ):
            cursor.execute(statement)
            return list(cursor.fetchall())


def _began(entry: Entry) -> float:
    return entry.at - entry.ms / 1000


@contextmanager
def program(live: Live, folder: Path) -> Iterator[Moving]:
    """Workers, watchdog and applier on a stack whose regions are prepared; ended at the end."""
    made = Moving(live, json.loads((live.run_dir / "stack.json").read_text()), folder)
    for region in (BLUE, GREEN):
        live.ask("datamap", "prepare", "--region", region)
    try:
        for name in OURS:
            made.start(name, "manage.py", name)
        yield made
    finally:
        made.end()
