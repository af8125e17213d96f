"""Start a local Pinecone: python -m demo.servers.pinecone --port P --key K --index rag --dimension 8 --state DIR"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from demo.servers.pinecone.service import Config, Service
from demo.servers.trial import Trial


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.servers.pinecone", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port of 127.0.0.1 to listen on")
    parser.add_argument("--key", required=True, help="the API key that may do everything")
    parser.add_argument("--reader-key", help="an API key that may only read")
    parser.add_argument("--index", default="rag", help="the index that is there from the first start on")
    parser.add_argument("--dimension", type=int, default=8)
    parser.add_argument("--metric", default="cosine", choices=("cosine", "dotproduct", "euclidean"))
    parser.add_argument("--region", default="us-east-1", help="the region that the index says it is in")
    parser.add_argument("--state", type=Path, required=True, help="folder for data, trash and access log")
    parser.add_argument("--lag-ms", type=float, default=200, help="how long a write stays invisible to reads")
    parser.add_argument("--stats-lag-ms", type=float, default=300, help="how much longer counts lag behind")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    config = Config(
        port=arguments.port,
        key=arguments.key,
        reader_key=arguments.reader_key,
        index=arguments.index,
        dimension=arguments.dimension,
        metric=arguments.metric,
        region=arguments.region,
        state=arguments.state,
    )
    service = Service(config, Trial(lag_ms=arguments.lag_ms, stats_lag_ms=arguments.stats_lag_ms))
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await service.start()
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(_run(_arguments()))
