"""`python -m demo.stack up|down|restart|stop|start|signal|status` for the stack of `LIFECYCLE_RUN_DIR`."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from demo.stack import control
from demo.stack.place import CHECKOUT, Place, run_dir

# Where it is set, settings take every address from the environment (config/environment.py).
REAL_SERVICES = "DATABASE_URL"


def _up(root: Path, *, bare: bool) -> None:
    if REAL_SERVICES in os.environ:
        print(
            f"No embedded server was started: {REAL_SERVICES} names real services. Unset it for the local stack."
        )
        return
    began = time.monotonic()
    page = control.up(root)
    if not bare:
        _prepare_platform(root)
    print(f"The stack is up after {time.monotonic() - began:.1f} s: {page}")


def _prepare_platform(root: Path) -> None:
    """Apply the migrations and seed the empty platform, each in a process of its own."""
    # Only migrations run as the database's owner.
    steps = (("MIGRATE=1", "migrate", "--noinput", "-v", "0"), ("MIGRATE=0", "demo", "seed-platform"))
    for role, *command in steps:
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=CHECKOUT,
            env={**os.environ, "LIFECYCLE_RUN_DIR": str(root), "MIGRATE": role[-1]},
            check=False,
        )
        if done.returncode != 0:
            raise control.StackError(f"`manage.py {' '.join(command)}` failed; its message is above.")


def _down(root: Path, *, wipe: bool) -> None:
    ended = control.down(root)
    if wipe:
        control.wipe(root)
    print("The stack is down." if ended else "No stack was running.")


def _supervise(root: Path) -> None:
    # Imported here: the other commands answer faster without the servers' client packages.
    from demo.stack.supervisor import Supervisor

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    Supervisor(Place.at(root)).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the servers, migrate and seed the sample platform")
    up.add_argument("--bare", action="store_true", help="servers only")
    down = commands.add_parser("down", help="end what was started; data stay")
    down.add_argument("--wipe", action="store_true", help="remove the data too")
    commands.add_parser("restart", help="kill a server and wait until it is back").add_argument("name")
    commands.add_parser("stop", help="kill a server and keep it down").add_argument("name")
    commands.add_parser("start", help="start a server that was stopped").add_argument("name")
    send = commands.add_parser("signal", help="send a signal, for example STOP, to a server")
    send.add_argument("name")
    send.add_argument("signal", choices=[each.name.removeprefix("SIG") for each in signal.Signals])
    commands.add_parser("status", help="print the servers as JSON")
    commands.add_parser("supervise")
    return parser


def main() -> int:
    """Carry out the command line; 1 with a sentence on standard error when it could not be done."""
    arguments, root = _parser().parse_args(), run_dir()
    try:
        match arguments.command:
            case "up":
                _up(root, bare=arguments.bare)
            case "down":
                _down(root, wipe=arguments.wipe)
            case "status":
                print(json.dumps(control.status(root), indent=1))
            case "signal":
                control.signal_server(root, arguments.name, signal.Signals[f"SIG{arguments.signal}"])
            case "supervise":
                _supervise(root)
            case command:
                {"restart": control.restart, "stop": control.stop, "start": control.start}[command](
                    root, arguments.name
                )
    except control.StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
