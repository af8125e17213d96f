"""`make run`: the whole program with its sample platform, in the foreground, until Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from demo.platform.cast import CUSTOMERS
from demo.program import Failed, Program
from demo.stack import control
from demo.stack.place import REGIONS, read_json, run_dir

PORT = 8000
SHOWN = {
    "officer": "decides on requests",
    "legal": "places and releases holds",
    "engineer": "runs, retries, worker health",
}


def main() -> int:
    """Starts everything, waits for Ctrl-C or SIGTERM, ends what it started; 1 when something could not start."""
    root = run_dir()
    signal.signal(signal.SIGTERM, _interrupt)
    real = "DATABASE_URL" in os.environ
    ours = False
    try:
        with _alone(root), Program(root) as program:
            ours = not real and control.supervisor(root) is None
            _serve(program, root, real=real)
    except KeyboardInterrupt:
        print("\nEnding.", flush=True)
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if ours:
            control.down(root)
    print("Everything that this started has ended.")
    if not real and not ours:
        print("The local servers ran before and go on; `make stack-down` ends them.")
    return 0


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two would take each other's work: there is one watchdog for a load balancer."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(
                "The program runs from this folder already. Use that one, or end it with Ctrl-C."
            ) from None
        yield


def _serve(program: Program, root: Path, *, real: bool) -> None:
    if real:
        (root / "log").mkdir(parents=True, exist_ok=True)
        print(
            "DATABASE_URL names real services: no local server is started and nothing is seeded.", flush=True
        )
    else:
        print("Starting the local servers (some 20 s) ...", flush=True)
        program.run(sys.executable, "-m", "demo.stack", "up")
        print("Seeding the sample platform ...", flush=True)
        print(program.manage("demo", "seed", "--missing").strip(), flush=True)
        for region in REGIONS:
            program.manage("datamap", "prepare", "--region", region)
    program.manage("collectstatic", "--noinput", "-v", "0")
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    program.environment.setdefault("PUBLIC_URL", os.environ.get("PUBLIC_URL", address))
    program.start("qcluster", "manage.py", "qcluster")
    if not real or "TRAFFIC_SOCKET" in os.environ:
        program.start("watchdog", "manage.py", "watchdog")
        program.start("applier", "manage.py", "applier")
    web = (
        "--bind",
        f"127.0.0.1:{port}",
        "--workers",
        "1",
        "--threads",
        "8",
        "--timeout",
        "120",
        "--no-control-socket",
    )
    log = program.start("web", "-m", "gunicorn", "config.wsgi", *web)
    _wait_for_page(program, f"{address}/admin/login/", log)
    if port != PORT:
        print(f"Port {PORT} is taken, so the program is on {port}.")
    _greet(address, {} if real else read_json(root / "stack.json")["demo"])
    while (name := program.fallen()) is None:
        time.sleep(0.5)
    raise Failed(f"{name} ended by itself; its last words are in {root / 'log' / name}.log.")


def _greet(address: str, demo: dict[str, Any]) -> None:
    print(f"\nOpen {address}/admin/ and sign in:\n")
    if demo:
        for name, duty in SHOWN.items():
            print(f"  {name:<10} {demo['users'][name]}   {duty}")
        admin = demo["admins"][CUSTOMERS[1].id]
        print("\nFile a request, then approve it as officer:\n")
        print(f"  bin/with python manage.py erasure request --tenant 17 --user eve --requested-by {admin}\n")
        print(
            f"Moves between regions are watched on {address}/admin/lifecycle/migration/fleet/. Plan and start one:\n"
        )
        print(
            "  bin/with python manage.py migration plan --tenant 17 --to us-west-2 --as engineer --step-seconds 20"
        )
        print("  bin/with python manage.py migration start ID --as engineer\n")
        print("Give it users meanwhile:\n")
        print("  bin/with python -m demo.load --tenant 17 --rate 20 --seconds 300 --ledger .run/load.jsonl\n")
    print("Ctrl-C ends everything.", flush=True)


def _free_port() -> int:
    for port in range(PORT, PORT + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failed(f"No port between {PORT} and {PORT + 99} is free on 127.0.0.1. End what listens there.")


def _wait_for_page(program: Program, url: str, log: Path, seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if (name := program.fallen()) is not None:
            raise Failed(f"{name} ended at once; its last words are in {log.with_name(f'{name}.log')}.")
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            time.sleep(0.2)
    raise Failed(f"The web server does not answer at {url} after {seconds:.0f} s; see {log}.")


def _interrupt(*_signal: object) -> None:
    raise KeyboardInterrupt
