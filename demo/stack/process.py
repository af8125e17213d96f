"""Processes named by pid and start time, so that a reused pid is never taken for ours."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """A process: its pid, and the clock tick since boot at which it started."""

    pid: int
    started: int


def identify(pid: int) -> Identity | None:
    """Return the identity of the running process `pid`; None if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may hold spaces: read behind it.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]))


def is_alive(process: Identity) -> bool:
    """Say whether exactly this process still runs."""
    return identify(process.pid) == process


def send(process: Identity, number: int) -> bool:
    """Send signal `number` to exactly this process; False if it is gone."""
    if not is_alive(process):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
        return True
    return False


def wait_gone(process: Identity, seconds: float) -> bool:
    """Wait at most `seconds` for the process to end; True if it did."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def end(process: Identity, number: int, seconds: float) -> None:
    """Ask the process to end with signal `number`, wait at most `seconds`, then kill it."""
    send(process, number)
    send(process, signal.SIGCONT)
    if not wait_gone(process, seconds):
        send(process, signal.SIGKILL)
        wait_gone(process, 5)
