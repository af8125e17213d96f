"""`manage.py watchdog`: the process that alone changes weights and owners of moving tenants."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from lifecycle.health.meter import Listener, Meter
from lifecycle.secrets import resolve
from lifecycle.systems.base import Permanent
from lifecycle.traffic.haproxy import HAProxy
from lifecycle.watchdog.orders import Desk
from lifecycle.watchdog.state import Book
from lifecycle.watchdog.watch import Watch


class Command(BaseCommand):
    """Thin: the watch itself knows no Django."""

    help = "Watches all moves, follows their orders, and takes a bad green back by itself. Ends on SIGTERM."
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Runs until it is ended."""
        traffic = settings.TRAFFIC
        if not traffic["socket"]:
            raise CommandError(
                "TRAFFIC_SOCKET is not set: the watchdog runs beside the load balancer.", returncode=2
            )
        state, meter = Path(traffic["state"]), Meter()
        try:
            book = Book(state)
            balancer = HAProxy(
                socket_path=traffic["socket"],
                maps=Path(traffic["maps"]),
                default=traffic["default"],
                state=state,
            )
        except Permanent as refused:
            raise CommandError(str(refused), returncode=1) from None
        listener = Listener(meter, int(traffic["log_udp"]))
        watch = Watch(
            desk=Desk(settings.CONTROL_DSN),
            book=book,
            traffic=balancer,
            meter=meter,
            resolve=resolve,
            edge=traffic["url"],
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: watch.close())
        try:
            watch.run()
        finally:
            listener.close()
            balancer.close()
            book.close()
