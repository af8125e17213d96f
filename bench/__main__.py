"""`python -m bench`: a table on stdout and bench/results.json. `BENCH_SCALE` multiplies every set (1 by default)."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import django

from demo.stack import control
from demo.stack.place import CHECKOUT

RESULTS = CHECKOUT / "bench" / "results.json"
# Never on services that the environment may name, and never as the owner's role.
_FOREIGN = ("DATABASE_URL", "DATABASE_OWNER_URL", "MIGRATE")
PERSON, MOVES = "person", "moves"


def main() -> int:
    """Runs the chosen measures on a stack of their own; 0 also where a goal is missed, which the table says."""
    given = _arguments()
    for name in _FOREIGN:
        os.environ.pop(name, None)
    os.environ["LIFECYCLE_RUN_DIR"] = str(given.run_dir)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    ran_before = control.supervisor(given.run_dir) is not None
    try:
        subprocess.run(
            [sys.executable, "-m", "demo.stack", "up"], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL
        )
        django.setup()
        _measure(given)
    finally:
        if not ran_before:
            control.down(given.run_dir)
    return 0


def _arguments() -> argparse.Namespace:
    names = ("postgresql", "redis", "pinecone", "s3", PERSON, MOVES)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="one measure; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of ours and the peer")
    parser.add_argument("--scale", type=float, default=float(os.environ.get("BENCH_SCALE", "1")))
    parser.add_argument(
        "--run-dir", type=Path, default=CHECKOUT / ".run" / "bench", help="folder of the stack"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.run_dir = given.run_dir.resolve()
    given.only = given.only or names
    if given.scale <= 0 or given.rounds < 1:
        parser.error("--scale must be above 0 and --rounds at least 1")
    return given


def _measure(given: argparse.Namespace) -> None:
    # These load models, which need the settings of the stack.
    from bench import moves, person, races, report
    from compliance import fence

    stack = json.loads((given.run_dir / "stack.json").read_text())
    place = stack["regions"]["us-east-1"]
    results: list[report.Result] = []
    for race in races.RACES:
        if race.system in given.only:
            results += races.run(race, place, given.scale, given.rounds, lambda line: print(line, flush=True))
    fence.disconnect()
    if PERSON in given.only:
        results += person.run(stack, given.run_dir)
    if MOVES in given.only:
        results += moves.run(stack, given.scale, lambda line: print(line, flush=True))
    print(report.table(results))
    report.write(results, given.out)


if __name__ == "__main__":
    sys.exit(main())
