"""Settings of the load balancer and of the watchdog beside it. No Django here: the watchdog must start in no time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from config.environment import run_dir, setting


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where the load balancer is. `socket` and `maps` as HAProxy's configuration has them (docs/operations.md).

    `state`: the watchdog's own folder. `default`: region of tenants that never moved.
    """

    url: str
    socket: str
    maps: Path
    log_udp: int
    metrics: str
    state: Path
    default: str


def traffic() -> Traffic:
    """From TRAFFIC_URL, TRAFFIC_SOCKET ..., or the local stack's description."""

    def of(name: str, default: str = "") -> str:
        return setting(f"TRAFFIC_{name.upper()}", "traffic", name, default=default)

    return Traffic(
        url=of("url"),
        socket=of("socket"),
        maps=Path(of("maps", str(run_dir() / "maps"))),
        log_udp=int(of("log_udp", "5140")),
        metrics=of("metrics"),
        state=Path(of("state", str(run_dir() / "watchdog"))),
        default=of("default", "us-east-1"),
    )


def control_dsn() -> str:
    """The control database as the watchdog reaches it: WATCHDOG_DATABASE_URL, else DATABASE_URL. A secret."""
    return os.environ.get("WATCHDOG_DATABASE_URL") or setting("DATABASE_URL", "control")
