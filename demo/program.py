"""The program's own processes, for `make run` and `make demo`: started, watched, ended, never left behind."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.stack.place import CHECKOUT

_PR_SET_PDEATHSIG = 1


class Failed(RuntimeError):
    """A step did not work; the sentence says which and where to look."""


@dataclass(slots=True)
class Program:
    """The program on the stack in `root`. Leaving it as a context ends every process that it started."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    _running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def manage(self, *command: str) -> str:
        """What `manage.py` prints. Raises Failed with its last words."""
        return self.run(sys.executable, "manage.py", *command)

    def ask(self, *command: str) -> Any:
        """The JSON that `manage.py COMMAND --json` prints."""
        return json.loads(self.manage(*command, "--json"))

    def run(self, *command: str) -> str:
        """What a command prints. Raises Failed with its last words."""
        done = subprocess.run(
            command, cwd=CHECKOUT, env=self._env(), check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-2_000:]
            shown = " ".join(command[1:] if command[0] == sys.executable else command)
            raise Failed(f"`{shown}` ended with {done.returncode}:\n{said}")
        return done.stdout

    def follow(self, say: Callable[[str], None], *command: str) -> Any:
        """The JSON that `manage.py COMMAND --json` prints; meanwhile `say` gets each line that it writes for people.

        Raises Failed with its last words.
        """
        last: deque[str] = deque(maxlen=20)
        with subprocess.Popen(
            [sys.executable, "manage.py", *command, "--json"],
            cwd=CHECKOUT,
            env=self._env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_parent,
        ) as process:
            assert process.stderr is not None and process.stdout is not None  # noqa: S101 - both are pipes
            for line in process.stderr:
                last.append(line)
                say(line.rstrip())
            out = process.stdout.read()
        if process.returncode != 0:
            raise Failed(f"`manage.py {' '.join(command)}` ended with {process.returncode}:\n{''.join(last)}")
        return json.loads(out)

    def start(self, name: str, *command: str) -> Path:
        """Starts a process that ends with this one; returns the file that takes what it prints."""
        log = self.root / "log" / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=CHECKOUT,
                env=self._env(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Not in the terminal's group: Ctrl-C reaches this process only, which ends the others in order.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._running.append((name, process))
        return log

    def fallen(self) -> str | None:
        """The name of a process that ended by itself, if one did."""
        return next((name for name, process in self._running if process.poll() is not None), None)

    def stop(self, name: str, seconds: float = 20.0) -> None:
        """Ends one started process, which is not missed afterwards."""
        chosen = [each for each in self._running if each[0] == name]
        self._running = [each for each in self._running if each[0] != name]
        _end(chosen, seconds)

    def end(self, seconds: float = 20.0) -> None:
        """Ends every started process: asked first, killed after `seconds`."""
        _end(self._running, seconds)
        self._running.clear()

    def _env(self) -> dict[str, str]:
        return {**os.environ, "LIFECYCLE_RUN_DIR": str(self.root), **self.environment}


def _end(running: list[tuple[str, subprocess.Popen[bytes]]], seconds: float) -> None:
    for _, process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    limit = time.monotonic() + seconds
    for _, process in running:
        try:
            process.wait(max(0.1, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
