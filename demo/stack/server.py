"""What the supervisor must know of one server, whatever its kind."""

import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from demo.stack.place import CHECKOUT


def nothing() -> None:
    """The step of a server that needs none."""


@dataclass(frozen=True)
class Server:
    """One server of the stack.

    `prepare` runs before the first start (make folders, configuration), `setup` after it (roles,
    buckets); both may run again and change nothing then. `ready` says whether the server does its
    work; it may raise while it does not. `extra` goes into stack.json beside pid, port and log.
    """

    name: str
    port: int
    command: tuple[str, ...]
    ready: Callable[[], bool]
    prepare: Callable[[], None] = nothing
    setup: Callable[[], None] = nothing
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    extra: Mapping[str, str] = field(default_factory=dict)


def spawn(server: Server, log: Path) -> "subprocess.Popen[bytes]":
    """Start `server`, its output appended to `log`; it dies with the thread that called this."""
    # Set by a program between us and the server: a preexec_fn could hang, since we have threads.
    dies_with_us = ("setpriv", "--pdeathsig", "KILL", "--")
    with log.open("ab") as output:
        return subprocess.Popen(
            dies_with_us + server.command,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **server.environment},
            start_new_session=True,
        )


def answers(url: str) -> bool:
    """Say whether GET `url` answers 200 within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - loopback http
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@cache
def unprivileged() -> tuple[str, ...]:
    """Return the command prefix under which a server that refuses root agrees to run.

    A user namespace keeps the data where it is, even under root's home; where namespaces are not
    allowed, `nobody` is used, which must be able to reach the folders (PostgreSQL says if not).
    """
    if os.geteuid() != 0:
        return ()
    namespace = ("unshare", "--user", "--")
    if subprocess.run((*namespace, "true"), capture_output=True, check=False).returncode == 0:
        return namespace
    return ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")


def needs_other_owner() -> bool:
    """Say whether data of such a server must belong to `nobody` (no user namespaces here)."""
    return "--reuid=nobody" in unprivileged()
