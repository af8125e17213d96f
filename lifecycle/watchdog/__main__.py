"""The watchdog's process. Reached by `manage.py watchdog`, without Django."""

from __future__ import annotations

import logging
import signal
import sys

from config.traffic import control_dsn, traffic
from lifecycle.health.meter import Listener, Meter
from lifecycle.secrets import resolve
from lifecycle.systems.base import Permanent
from lifecycle.traffic.haproxy import HAProxy
from lifecycle.watchdog.orders import Desk
from lifecycle.watchdog.state import Book
from lifecycle.watchdog.watch import Watch


def main() -> int:
    """Runs until SIGTERM or SIGINT. Returns 1 where another watchdog runs, 2 without a load balancer."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    place = traffic()
    if not place.socket:
        print("TRAFFIC_SOCKET is not set: the watchdog runs beside the load balancer.", file=sys.stderr)
        return 2
    meter = Meter()
    try:
        book = Book(place.state)
        balancer = HAProxy(
            socket_path=place.socket, maps=place.maps, default=place.default, state=place.state
        )
        listener = Listener(meter, place.log_udp)
    except (Permanent, OSError) as refused:
        print(refused, file=sys.stderr)
        return 1
    watch = Watch(
        desk=Desk(control_dsn()), book=book, traffic=balancer, meter=meter, resolve=resolve, edge=place.url
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watch.close())
    try:
        watch.run()
    finally:
        listener.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
