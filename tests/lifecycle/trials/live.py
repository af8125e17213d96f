"""The program as it runs: its own control database, real workers, the command line. For trials that kill and stop things."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from demo.stack.place import CHECKOUT
from lifecycle.systems.base import SYSTEMS
from tests.lifecycle.line import Line
from tests.lifecycle.trials import commands

QUICK = {"STEP_BACKOFF": "1,2,4", "LOG_LEVEL": "INFO"}
OVER = ("completed", "partially_completed", "failed", "rejected", "cancelled", "retained")


@dataclass
class Live:
    """Workers and the command line over one stack."""

    run_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def env(self) -> dict[str, str]:
        """What every process of the trial sees: the application's role, never the owner's."""
        base = {
            name: value
            for name, value in os.environ.items()
            if name not in ("MIGRATE", "DJANGO_SETTINGS_MODULE")
        }
        return {**base, **QUICK, **self.environment, "LIFECYCLE_RUN_DIR": str(self.run_dir)}

    @cached_property
    def control(self) -> Line:
        """The control database, as the application's role."""
        return Line(json.loads((self.run_dir / "stack.json").read_text())["control"])

    def call(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """One command; whatever its exit code is."""
        return commands.of(frozenset(self.env().items())).run(*words, timeout=timeout)

    def ask(self, *words: str, timeout: float = 120) -> Any:
        """One command that must succeed; its JSON document."""
        done = self.call(*words, "--json", timeout=timeout)
        assert done.returncode == 0, f"{words}: exit code {done.returncode}: {done.stderr or done.stdout}"
        return json.loads(done.stdout)

    def start_workers(self) -> subprocess.Popen[bytes]:
        """One more qcluster in a process group of its own; its output goes to the run folder."""
        log = (self.run_dir / "qcluster.log").open("ab")
        made = subprocess.Popen(
            [sys.executable, "manage.py", "qcluster"],
            cwd=CHECKOUT, env=self.env(), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        self.workers.append(made)
        return made

    def stop_workers(self) -> None:
        """Ends every qcluster that was started here."""
        for each in self.workers:
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGTERM)
        for each in self.workers:
            try:
                each.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(each.pid, signal.SIGKILL)
                each.wait(10)
        self.workers.clear()

    def tenant(
        self, *users: str, kind: str = "standard", systems: Collection[str] = SYSTEMS
    ) -> tuple[str, str]:
        """A new tenant with these users, seeded in every system: (its id, its administrator's mail).

        With fewer `systems` its environment has no others: an erasure takes less of a processor.
        """
        name = f"t{secrets.token_hex(4)}"
        made = self.call("demo", "tenant", name, "--users", ",".join(users or ("ada", "bob")), "--kind", kind)
        assert made.returncode == 0, made.stderr
        self.control.rows(
            "UPDATE lifecycle_environment SET places = (SELECT jsonb_object_agg(key, value) FROM jsonb_each(places)"
            " WHERE key = ANY(%s) OR key <> ALL(%s)) WHERE tenant_id = %s RETURNING id",
            list(systems), list(SYSTEMS), name,
        )  # fmt: skip
        return name, made.stdout.strip().splitlines()[-1]

    def request(self, tenant: str, admin: str, user: str | None = None, *more: str) -> str:
        """Files a request and approves it by whom it needs; its id."""
        words = ["--tenant", tenant, "--requested-by", admin, *(["--user", user] if user else []), *more]
        made = self.ask("erasure", "request", *words)
        self.ask("erasure", "approve", made["id"], "--as", "officer")
        if not user:
            self.ask("erasure", "approve", made["id"], "--as", "legal")
        return str(made["id"])

    def status(self, request: str) -> dict[str, Any]:
        """`erasure status`."""
        found: dict[str, Any] = self.ask("erasure", "status", request)
        return found

    def until(
        self, request: str, wanted: Callable[[dict[str, Any]], bool], timeout: float = 90
    ) -> dict[str, Any]:
        """Polls the status until `wanted`; fails with the last status after `timeout` seconds."""
        ends = time.monotonic() + timeout
        while True:
            now = self.status(request)
            if wanted(now):
                return now
            assert time.monotonic() < ends, f"not reached within {timeout} s: {json.dumps(now)}"
            time.sleep(0.3)

    def state(self, request: str) -> str:
        """The request's, asked of the control database: a command costs a second of a processor."""
        ((state,),) = self.control.rows("SELECT state FROM compliance_erasurerequest WHERE id = %s", request)
        return str(state)

    def over(self, request: str, timeout: float = 120) -> dict[str, Any]:
        """Waits until the request has ended; its status. Fails with the last status after `timeout` seconds."""
        ends = time.monotonic() + timeout
        while self.state(request) not in OVER:
            assert time.monotonic() < ends, f"not over in {timeout} s: {json.dumps(self.status(request))}"
            time.sleep(0.3)
        return self.status(request)
