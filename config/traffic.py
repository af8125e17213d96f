"""Settings of the load balancer and of the watchdog beside it. No Django here: the watchdog must start in no time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.environment import run_dir, setting


@dataclass(frozen=True, slots=True)
class Balancer:
    """An AWS Application Load Balancer and what counts its requests. `listener`: ARN. `groups`: ARNs of target groups and
    `prometheus`: addresses (references), by region. `metrics`: the application's counters (docs/taking-part.md)."""

    listener: str
    groups: Mapping[str, str]
    region: str
    endpoint: str
    prometheus: Mapping[str, str]
    metrics: Mapping[str, str]

    def missing(self) -> list[str]:
        """What has to be set before a watchdog can work with it, as sentences."""
        found = []
        if len(self.groups) < 2:
            found.append(
                "TRAFFIC_ALB_GROUPS names no two target groups. Give one for each region: us-east-1=ARN,us-west-2=ARN."
            )
        if unseen := sorted(set(self.groups) - set(self.prometheus)):
            found.append(
                f"TRAFFIC_PROMETHEUS names no address for {', '.join(unseen)}. An ALB counts no tenant's requests, so each "
                "region's Prometheus is asked: us-east-1=http://HOST:9090,us-west-2=..."
            )
        if not self.region:
            found.append("TRAFFIC_ALB_REGION is not set. Give the AWS region that the load balancer is in.")
        return found


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where the load balancer is. `socket` and `maps` as HAProxy's configuration has them (docs/operations.md).

    `state`: the watchdog's own folder. `default`: region of tenants that never moved. `alb`: an AWS load balancer instead.
    """

    url: str
    socket: str
    maps: Path
    log_udp: int
    metrics: str
    state: Path
    default: str
    alb: Balancer | None = None


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
        alb=_balancer(),
    )


def _balancer() -> Balancer | None:
    of = os.environ.get
    if not (listener := of("TRAFFIC_ALB_LISTENER", "")):
        return None
    metrics = {name: of(f"TRAFFIC_METRIC_{name.upper()}", "") for name in ("requests", "seconds", "alive")}
    return Balancer(
        listener=listener,
        groups=_by_region("TRAFFIC_ALB_GROUPS"),
        region=of("TRAFFIC_ALB_REGION", ""),
        endpoint=of("TRAFFIC_ALB_ENDPOINT", ""),
        prometheus=_by_region("TRAFFIC_PROMETHEUS"),
        metrics={name: value for name, value in metrics.items() if value},
    )


def _by_region(name: str) -> dict[str, str]:
    """`REGION=VALUE,REGION=VALUE` of an environment variable; what has no `=` is left out."""
    parts = (each.partition("=") for each in os.environ.get(name, "").split(","))
    return {region.strip(): value.strip() for region, sign, value in parts if sign and value.strip()}


def control_dsn() -> str:
    """The control database as the watchdog reaches it: WATCHDOG_DATABASE_URL, else DATABASE_URL. A secret."""
    return os.environ.get("WATCHDOG_DATABASE_URL") or setting("DATABASE_URL", "control")
