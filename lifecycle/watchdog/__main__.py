"""The watchdog's process. Reached by `manage.py watchdog`, without Django."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from config.traffic import Balancer, control_dsn, traffic
from config.traffic import Traffic as Place
from lifecycle.health.counters import Counters
from lifecycle.health.meter import Listener, Meter
from lifecycle.health.prometheus import Names
from lifecycle.secrets import resolve
from lifecycle.systems.base import Permanent
from lifecycle.traffic.base import Traffic
from lifecycle.traffic.haproxy import HAProxy
from lifecycle.watchdog.orders import Desk
from lifecycle.watchdog.state import Book
from lifecycle.watchdog.watch import Watch

_REREAD_S = 2.0


@dataclass(frozen=True, slots=True)
class Edge:
    """A load balancer, and what tells `meter` of its requests until `close`."""

    balancer: Traffic
    meter: Meter
    tend: Callable[[Mapping[str, tuple[str, str]]], None]
    close: Callable[[], None]


def main() -> int:
    """Runs until SIGTERM or SIGINT. Returns 1 where another watchdog runs, 2 without a load balancer."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    place = traffic()
    if missing := _missing(place):
        print("\n".join(missing), file=sys.stderr)
        return 2
    try:
        book = Book(place.state)
        edge = _amazon(place, place.alb) if place.alb else _haproxy(place)
    except (Permanent, OSError) as refused:
        print(refused, file=sys.stderr)
        return 1
    watch = Watch(
        desk=Desk(control_dsn()),
        book=book,
        traffic=edge.balancer,
        meter=edge.meter,
        resolve=resolve,
        edge=place.url,
        tend=edge.tend,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watch.close())
    try:
        watch.run()
    finally:
        edge.close()
    return 0


def _missing(place: Place) -> list[str]:
    if place.alb is not None:
        both = [
            "TRAFFIC_SOCKET and TRAFFIC_ALB_LISTENER are both set. One watchdog has one load balancer: unset one."
        ]
        return [*(both if os.environ.get("TRAFFIC_SOCKET") else []), *place.alb.missing()]
    if not place.socket:
        return [
            "TRAFFIC_SOCKET is not set: the watchdog runs beside the load balancer. Set it for HAProxy, or "
            "TRAFFIC_ALB_LISTENER for an AWS load balancer."
        ]
    return []


def _haproxy(place: Place) -> Edge:
    meter = Meter()
    balancer = HAProxy(socket_path=place.socket, maps=place.maps, default=place.default, state=place.state)
    return Edge(balancer, meter, lambda _moves: None, Listener(meter, place.log_udp).close)


def _amazon(place: Place, alb: Balancer) -> Edge:
    # Here: it loads boto3, and a watchdog of HAProxy starts in no time.
    from lifecycle.traffic.alb import ALB, made_client

    meter = Meter("The application's counters in Prometheus")
    counters = Counters(
        meter,
        {region: resolve(address) for region, address in alb.prometheus.items()},
        Names(**alb.metrics),
    )
    balancer = ALB(
        listener=alb.listener,
        groups=alb.groups,
        default=place.default,
        client=made_client(alb.region, alb.endpoint),
        reread_s=_REREAD_S,
    )
    counters.start()
    return Edge(balancer, meter, counters.tend, counters.close)


if __name__ == "__main__":
    sys.exit(main())
