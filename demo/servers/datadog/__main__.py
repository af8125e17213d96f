"""Start a local Datadog: python -m demo.servers.datadog --port P --key K --state DIR"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from demo.servers.datadog.service import Service
from demo.servers.trial import Trial


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.servers.datadog", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port of 127.0.0.1 to listen on")
    parser.add_argument("--key", required=True, help="the API key")
    parser.add_argument("--app-key", help="the application key (the same as --key unless given)")
    parser.add_argument("--state", type=Path, required=True, help="folder for data and access log")
    parser.add_argument(
        "--delay-s",
        type=float,
        default=1,
        help="seconds that a deletion is pending, and as many that it runs",
    )
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    service = Service(
        arguments.port,
        arguments.key,
        arguments.app_key or arguments.key,
        arguments.state,
        Trial(delay_s=arguments.delay_s, run_s=arguments.delay_s),
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await service.run(stopped)


if __name__ == "__main__":
    asyncio.run(_run(_arguments()))
