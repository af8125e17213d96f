"""`python -m demo.load --tenant T --rate R --seconds S --ledger FILE`: load on the stack of `LIFECYCLE_RUN_DIR`."""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path

from demo.load.generator import Generator, Plan
from demo.load.ledger import Ledger
from demo.load.summary import summary
from demo.stack.place import read_json, run_dir


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--url", default="", help="default: the load balancer of the stack")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--writes", type=float, default=0.4, help="share of new documents")
    parser.add_argument("--deletes", type=float, default=0.05, help="share of deletions")
    parser.add_argument("--threads", type=int, default=16)
    given = parser.parse_args()
    url = given.url or read_json(run_dir() / "stack.json")["traffic"]["url"]
    plan = Plan(
        url, given.tenant, given.rate, given.seconds, given.users, given.writes, given.deletes, given.threads
    )
    ledger = Ledger(given.ledger)
    generator = Generator(plan, ledger)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: generator.stop())
    generator.run()
    ledger.close()
    print(json.dumps(summary(given.ledger)))


if __name__ == "__main__":
    main()
