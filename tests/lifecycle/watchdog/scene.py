"""One tenant on the move: two real databases, two applications, HAProxy, orders in the control database, a watchdog."""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import connection

from demo.stack.place import CHECKOUT
from lifecycle.models import Beat, Environment, Migration, Order, Reading, Tenant
from tests.lifecycle.traffic.edge import Edge, running
from tests.lifecycle.watchdog.pair import BLUE, GREEN, TENANT, Pair
from tests.lifecycle.watchdog.service import Service


@dataclass
class Seen:
    """One request of the load: when it was answered, by whom it was written (writes), and its status."""

    at: float
    kind: str
    status: int
    note: str = ""
    owner: str = ""


@dataclass
class Scene:
    pair: Pair
    edge: Edge
    services: dict[str, Service]
    migration: Migration
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    control: str = ""  # another way to the control database
    traffic: dict[str, str] = field(default_factory=dict)  # settings of another load balancer than HAProxy
    log_udp: int = 0  # another port than the one to which HAProxy tells its requests
    seen: list[Seen] = field(default_factory=list)

    def begin(self) -> None:
        """Starts a watchdog, a process of its own, and waits until it is alive."""
        self.edge.log.close()  # its port is the watchdog's to read
        settings, folder = connection.settings_dict, self.edge.folder
        database = f"{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
        environment = {
            "WATCHDOG_DATABASE_URL": self.control or f"postgresql://{database}",
            "TRAFFIC_URL": f"http://127.0.0.1:{self.edge.port}",
            "TRAFFIC_SOCKET": str(folder / "s"),
            "TRAFFIC_MAPS": str(folder / "maps"),
            "TRAFFIC_LOG_UDP": str(self.log_udp or self.edge.shape.log_udp),
            "TRAFFIC_STATE": str(folder / "state"),
            "TRAFFIC_DEFAULT": BLUE,
        } | self.traffic
        with (folder / "watchdog.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "watchdog"],
                cwd=CHECKOUT,
                env=os.environ | environment,
                stdout=output,
                stderr=output,
            )
        until(
            lambda: Beat.objects.filter(pid=self.process.pid if self.process else 0).exists(), 20, self.words
        )

    def words(self) -> str:
        """What the watchdog logged."""
        return (self.edge.folder / "watchdog.log").read_text()

    def end(self, number: int = signal.SIGTERM) -> None:
        """Ends the watchdog: its leases run out."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(10)
            self.process = None

    def order(self, **wanted: Any) -> Order:
        """Writes a new order, as the orchestrator does."""
        order = Order.objects.get(migration=self.migration)
        for name, value in wanted.items():
            setattr(order, name, value)
        order.epoch += 1
        fields = {"epoch": order.epoch, **wanted}
        Order.objects.filter(pk=order.pk).update(**fields)
        with connection.cursor() as cursor:
            cursor.execute("NOTIFY lifecycle_order")
        return order

    def done(self, seconds: float = 15) -> Order:
        """Waits until the newest order is done."""
        until(
            lambda: (order := self.now()).done_epoch >= order.epoch,
            seconds,
            lambda: f"{self.now().outcome} {self.words()}",
        )
        return self.now()

    def now(self) -> Order:
        found: Order = Order.objects.get(migration=self.migration)
        return found

    def reading(self) -> dict[str, Any]:
        found = Reading.objects.filter(migration=self.migration).last()
        return found.data if found else {}

    def ready(self) -> None:
        """Waits until the watchdog has seen enough to judge and both streams flow."""
        until(lambda: self.reading().get("ready_back", {}).get("ready"), 10, lambda: str(self.reading()))

    def cutover(self) -> None:
        """Everything to green, owner included."""
        self.ready()
        self.order(share=100)
        self.order(owner=GREEN)
        self.done()

    @contextmanager
    def load(self, rate: float = 60.0) -> Iterator[None]:
        """Readers and writers through the load balancer."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._use, args=(stop, n, rate / 6), daemon=True) for n in range(6)
        ]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            stop.set()
            for each in threads:
                each.join()

    def _use(self, stop: threading.Event, number: int, rate: float) -> None:
        turn = 0
        while not stop.wait(1 / rate):
            turn += 1
            note = secrets.token_hex(8) if turn % 2 else ""
            line = http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=6)
            status, owner = 0, ""
            try:
                headers = {"x-tenant": TENANT, "x-user": f"user-{number}-{turn % 40}"}
                line.request("POST" if note else "GET", "/notes", note or None, headers)
                answer = line.getresponse()
                status, text = answer.status, answer.read().decode()
                owner = text.rpartition('"owner": "')[2].partition('"')[0] if status == 201 else ""
            except (OSError, http.client.HTTPException):
                pass
            finally:
                line.close()
            self.seen.append(Seen(time.monotonic(), "write" if note else "read", status, note, owner))

    def acknowledged(self) -> set[str]:
        return {each.note for each in self.seen if each.kind == "write" and each.status == 201}

    def first_on_blue(self, since: float) -> float:
        """Seconds from `since` to the first acknowledged write on blue."""
        return min(each.at for each in self.seen if each.at > since and each.owner == BLUE) - since

    def last_failure(self, since: float) -> float:
        """Seconds from `since` to the last failed request, 0 without one."""
        return max(
            (each.at - since for each in self.seen if each.status not in (200, 201) and each.at > since),
            default=0,
        )


def until(holds: Callable[[], Any], seconds: float, say: Callable[[], str] = lambda: "") -> Any:
    """Waits until it holds; fails with what `say` says."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {say()}"
        time.sleep(0.02)
    return found


@contextmanager
def playing(pair: Pair, folder: Path) -> Iterator[Scene]:
    """A scene with the tenant at home on blue, its order written, and no watchdog yet."""
    pair.ask(GREEN, f"ALTER SUBSCRIPTION {pair.stream(GREEN)} ENABLE")
    pair.ask(BLUE, f"ALTER SUBSCRIPTION {pair.stream(BLUE)} ENABLE")
    epoch = max(
        row[0]
        for region in (BLUE, GREEN)
        for row in [(0,), *pair.ask(region, "SELECT epoch FROM lifecycle.route")]
    )
    pair.route(BLUE, epoch + 1)
    services = {region: Service(region, pair.dsn[region]) for region in (BLUE, GREEN)}
    ports = {region: each.server_port for region, each in services.items()}
    for each in services.values():
        each.others = ports
    tenant, _ = Tenant.objects.get_or_create(id=TENANT, defaults={"name": "T", "home_region": BLUE})
    places = {}
    for region in (BLUE, GREEN):
        Environment.objects.get_or_create(id=f"{TENANT}@{region}", tenant=tenant, region=region)
        places[region] = {"dsn": pair.dsn[region], "app": services[region].address}
    migration = Migration.objects.create(
        tenant=tenant,
        source_id=f"{TENANT}@{BLUE}",
        target_id=f"{TENANT}@{GREEN}",
        source_region=BLUE,
        target_region=GREEN,
        planned_by="t",
    )
    settings = {
        "blue_places": places[BLUE],
        "green_places": places[GREEN],
        "streams": {"forth": pair.stream(GREEN), "back": pair.stream(BLUE)},
    }
    Order.objects.create(migration=migration, tenant_id=TENANT, owner=BLUE, watched=True, settings=settings)
    apps = {region: f"127.0.0.1:{port}" for region, port in ports.items()}
    with running(folder, apps) as edge:
        scene = Scene(pair, edge, services, migration, folder)
        try:
            yield scene
        finally:
            scene.end(signal.SIGKILL)
            for each in services.values():
                each.woken.set()
                if each.fault != "hang":
                    each.shutdown()
                each.server_close()
                each.pool.closeall()
            Reading.objects.all().delete()
            migration.delete()
            Beat.objects.all().delete()
