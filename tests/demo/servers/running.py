"""Starts and stops the local servers for the tests of this folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

KEY = "test-key"
READER = "reader-key"
CHECKOUT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(check: Callable[[], bool], seconds: float = 15) -> None:
    """Poll until `check` holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.02)


class Running:
    """One server process on a state folder; `restart` brings it back on the same port."""

    def __init__(self, module: str, state: Path, *options: str) -> None:
        self.port = free_port()
        self.state = state
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", module, "--port", str(self.port), "--key", KEY]
        self._command += ["--state", str(state), *options]
        # One client for all: httpx builds a TLS context for each call without one.
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers, 15 s at most."""
        self.process = subprocess.Popen(self._command, cwd=CHECKOUT)
        deadline = time.monotonic() + 15
        while True:
            try:
                self.http.get("/healthz", timeout=1).raise_for_status()
                return
            except httpx.HTTPError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.kill()
                    raise
                time.sleep(0.02)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(10)

    def restart(self) -> None:
        """kill -9 and start again on the same state."""
        self.kill()
        self.start()

    def trial(self, **settings: Any) -> None:
        """Change settings of the trial endpoint."""
        self.http.post("/_trial", json=settings, headers={"X-Trial": "1"}).raise_for_status()

    def cpu_seconds(self) -> float:
        """Processor time that the server has used, which other programs on the machine don't change."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self) -> list[dict[str, Any]]:
        """The access log's entries."""
        return [json.loads(line) for line in (self.state / "access.log").read_text().splitlines()]

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_error: object) -> None:
        self.http.close()
        self.kill()
