"""What a person or a test tells the stack: up, down, restart, stop, start, signal, status, wipe."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.stack import gnupg
from demo.stack.place import CHECKOUT, Place, read_json, write_private
from demo.stack.process import Identity, end, identify, is_alive, send, wait_gone

UP_WITHIN = 120.0


class StackError(RuntimeError):
    """Something about the stack that its user must know, as a sentence."""


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    with (place.root / "up.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def supervisor(root: Path) -> Identity | None:
    """Return the running supervisor of the stack in `root`, if there is one."""
    known = read_json(root / "supervisor.json")
    found = Identity(known["pid"], known["started"]) if known else None
    return found if found is not None and is_alive(found) else None


def _processes(root: Path) -> dict[str, Identity]:
    servers: dict[str, dict[str, Any]] = read_json(root / "state.json").get("servers", {})
    return {name: Identity(each["pid"], each["started"]) for name, each in servers.items() if each["pid"]}


def up(root: Path) -> Path:
    """Bring up the stack in `root`, unless it runs; return the path of its stack.json.

    Raises StackError, with the names of the servers, when one does not become ready.
    """
    place = Place.at(root)
    with _alone(place):
        running = supervisor(place.root)
        if running is None:
            _clear_remains(place)
            running = _start_supervisor(place)
        _wait_described(place, running)
    return place.root / "stack.json"


def _clear_remains(place: Place) -> None:
    """End what a killed supervisor may have left behind, and forget what it said."""
    for process in _processes(place.root).values():
        end(process, signal.SIGKILL, 5.0)
    for name in ("stack.json", "state.json"):
        (place.root / name).unlink(missing_ok=True)
    for held in (place.root / "held").iterdir():
        held.unlink()
    place.ports.renew_taken()


def _start_supervisor(place: Place) -> Identity:
    with place.log("supervisor").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo.stack", "supervise"],
            cwd=CHECKOUT,
            env={**os.environ, "LIFECYCLE_RUN_DIR": str(place.root)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    identity = identify(process.pid)
    if identity is None:
        raise StackError(f"The supervisor ended at once; see {place.log('supervisor')}.")
    write_private(place.root / "supervisor.json", {"pid": identity.pid, "started": identity.started})
    return identity


def _wait_described(place: Place, running: Identity) -> None:
    deadline = time.monotonic() + UP_WITHIN
    while True:
        state = read_json(place.root / "state.json")
        if state.get("described"):
            return
        servers: dict[str, dict[str, Any]] = state.get("servers", {})
        failed = [f"{name} ({each['error']})" for name, each in servers.items() if each["state"] == "failed"]
        if failed:
            raise StackError(f"Not started: {'; '.join(failed)}. `make stack-down` ends the others.")
        if not is_alive(running):
            raise StackError(f"The supervisor ended; its last words are in {place.log('supervisor')}.")
        if time.monotonic() > deadline:
            late = [name for name, each in servers.items() if each["state"] != "ready"]
            raise StackError(
                f"Not ready after {UP_WITHIN:.0f} s: {', '.join(late)}; see {place.root / 'log'}."
            )
        time.sleep(0.05)


def down(root: Path) -> bool:
    """End the stack in `root`; its data stay. False if none ran."""
    running = supervisor(root)
    if running is None:
        if root.is_dir():
            _clear_remains(Place.at(root))
        return False
    send(running, signal.SIGTERM)
    if not wait_gone(running, 30.0):
        end(running, signal.SIGKILL, 5.0)
        _clear_remains(Place.at(root))
    (root / "supervisor.json").unlink(missing_ok=True)
    return True


def wipe(root: Path) -> None:
    """Remove what a stack that is down left in `root`; nothing else in that folder is touched."""
    if supervisor(root) is not None:
        raise StackError(f"The stack in {root} runs; end it first (`python -m demo.stack down`).")
    if not root.is_dir():
        return
    shutil.rmtree(gnupg.home(Place.at(root)), ignore_errors=True)
    for name in ("data", "log", "mail", "keystore", "held"):
        shutil.rmtree(root / name, ignore_errors=True)
    names = ("ports", "secrets", "admins", "state", "stack", "supervisor")
    for path in (*(root / f"{name}.json" for name in names), root / "up.lock"):
        path.unlink(missing_ok=True)


def status(root: Path) -> list[dict[str, Any]]:
    """Return name, pid, port, state and alive of each server; an empty list when no stack runs."""
    if supervisor(root) is None:
        return []
    servers: dict[str, dict[str, Any]] = read_json(root / "state.json").get("servers", {})
    processes = _processes(root)
    return [
        {
            **{key: each[key] for key in ("pid", "port", "state")},
            "name": name,
            "alive": name in processes and is_alive(processes[name]),
        }
        for name, each in servers.items()
    ]


def signal_server(root: Path, name: str, number: int) -> None:
    """Send signal `number` to the server `name` (its main process; PostgreSQL's sessions end with it)."""
    process = _processes(root).get(name)
    if process is None or not send(process, number):
        raise StackError(f"No running server is called {name}; `python -m demo.stack status` lists them.")


def stop(root: Path, name: str) -> None:
    """Kill the server `name` and keep it down until `start`."""
    _known(root, name)
    (root / "held" / name).touch()
    process = _processes(root).get(name)
    if process is not None:
        end(process, signal.SIGKILL, 5.0)
    _wait_state(root, name, "held", None)


def start(root: Path, name: str) -> None:
    """Start a server that `stop` keeps down; returns when it is ready."""
    _known(root, name)
    (root / "held" / name).unlink(missing_ok=True)
    _wait_state(root, name, "ready", None)


def restart(root: Path, name: str) -> None:
    """Kill the server `name`; returns when the supervisor has it ready again, on the same port."""
    _known(root, name)
    before = _processes(root).get(name)
    if before is not None:
        end(before, signal.SIGKILL, 5.0)
    _wait_state(root, name, "ready", before)


def _known(root: Path, name: str) -> None:
    names = [each["name"] for each in status(root)]
    if name not in names:
        raise StackError(
            f"No server is called {name}; there are: {', '.join(names) or 'none, no stack runs'}."
        )


def _wait_state(root: Path, name: str, state: str, other_than: Identity | None) -> None:
    deadline = time.monotonic() + UP_WITHIN
    while time.monotonic() < deadline:
        found = read_json(root / "state.json").get("servers", {}).get(name, {})
        if found.get("state") == state and (other_than is None or _processes(root).get(name) != other_than):
            return
        time.sleep(0.02)
    raise StackError(
        f"{name} did not become {state} within {UP_WITHIN:.0f} s; see {root / 'log' / name}.log."
    )
