"""`python -m demo run` (make run) and `python -m demo prove` (make demo)."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module


def main() -> int:
    """Carries out the command line; the exit code is the command's."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="the whole program with its sample platform, until Ctrl-C")
    commands.add_parser("prove", help="an erasure and a move under load, checked independently")
    chosen = parser.parse_args().command
    code: int = import_module(f"demo.{chosen}").main()
    return code


if __name__ == "__main__":
    sys.exit(main())
