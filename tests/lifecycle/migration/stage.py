"""Two real regions, a watchdog and an applier as processes of their own, and moves that this process works on."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from compliance.actors import Actor
from compliance.models import LegalHold
from demo.platform import own_rows
from demo.platform.cast import EAST, WEST, Customer
from demo.platform.seed import everything
from demo.stack.place import CHECKOUT
from lifecycle.engine import readiness
from lifecycle.engine.advance import advance
from lifecycle.migration import actions, orders
from lifecycle.models import Beat, Migration, Run, Step
from lifecycle.systems import clients
from tests.lifecycle.line import Line

ANN = Actor("ann", frozenset({"engineer"}), None, "shell")
BEN = Actor("ben", frozenset({"engineer"}), None, "shell")
AUDITOR = Actor("arno", frozenset({"auditor"}), None, "shell")
QUICK = {
    "steps": [50, 100],
    "step_seconds": 0.2,
    "soak_seconds": 0.5,
    "hold_seconds": 60.0,
    "prometheus": False,
}
_numbers = itertools.count(1)


@dataclass
class Stage:
    """What a test may ask for."""

    stack: dict[str, Any]
    tag: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lines: dict[str, Line] = field(default_factory=dict)

    def tenant(self, *users: str, tier: str = "silver") -> Customer:
        """A new tenant at home in the east, with data in every system."""
        name = f"{self.tag}{next(_numbers)}"
        made = Customer(name, f"Test {name}", EAST, tier=tier, users=users or ("ada",))
        own_rows.enrol(made)
        everything.seed(self.stack, [made])
        return made

    def plan(self, customer: Customer, region: str = WEST, **more: Any) -> Migration:
        """A planned move, with short times."""
        own = QUICK | more.pop("own", {})
        return actions.plan(actor=ANN, tenant_id=customer.id, region=region, own=own, **more)

    def started(self, customer: Customer, **more: Any) -> Migration:
        """A started move."""
        migration = self.plan(customer, **more)
        return actions.start(migration, actor=ANN, digest=migration.plan_digest)

    def work(
        self, migration: Migration, until: Callable[[Migration], Any], seconds: float = 150
    ) -> Migration:
        """Works on the move's run, as workers do, until it holds."""
        ends = time.monotonic() + seconds
        while True:
            migration.refresh_from_db()
            if until(migration):
                return migration
            run = Run.objects.get(pk=migration.run_id)
            assert time.monotonic() < ends, (
                f"{migration.state}, run {run.state}: {run.reason} {self.words(run)}"
            )
            for step in due(run):
                advance(step.pk)
                migration.refresh_from_db()
                if until(migration):
                    return migration
            time.sleep(0.1)

    def reach(self, migration: Migration, state: str, seconds: float = 150) -> Migration:
        """Works until the migration has this state."""
        return self.work(migration, lambda each: each.state == state, seconds)

    def undone(self, migration: Migration) -> Migration:
        """Works until the run is cancelled: everything that was made is undone."""
        return self.work(migration, lambda each: Run.objects.get(pk=each.run_id).state == Run.State.CANCELLED)

    @staticmethod
    def words(run: Run) -> list[str]:
        """What the steps say."""
        return [f"{step.name} {step.lane} {step.state}: {step.error}" for step in run.steps.exclude(error="")]

    def begin(self, name: str) -> None:
        """Starts the watchdog or the applier on the test database."""
        facts = connection.settings_dict
        dsn = f"postgresql://{facts['USER']}:{facts['PASSWORD']}@{facts['HOST']}:{facts['PORT']}/{facts['NAME']}"
        log = (Path(settings.RUN_DIR) / "log" / f"test-{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "tests.lifecycle.migration.process", facts["NAME"], name],
            cwd=CHECKOUT,
            env={**os.environ, "WATCHDOG_DATABASE_URL": dsn},
            stdout=log,
            stderr=log,
        )
        began = time.monotonic()
        while not self.is_alive(name):
            assert time.monotonic() - began < 60, f"{name} gave no sign of life"
            assert self.processes[name].poll() is None, f"{name} ended"
            time.sleep(0.1)

    @staticmethod
    def is_alive(name: str) -> bool:
        """It was seen within the last two seconds."""
        found = Beat.objects.filter(name=name).first()
        return found is not None and time.time() - found.at.timestamp() < 2

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """Ends one of them."""
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def rows(self, region: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a region's database answers."""
        return self._line(region).rows(statement, *values)

    def _line(self, region: str) -> Line:
        if region not in self._lines:
            self._lines[region] = Line(self.stack["regions"][region]["postgres_mover"])
        return self._lines[region]

    def hang_up(self) -> None:
        """Ends the sessions of `rows`."""
        for line in self._lines.values():
            line.close()

    def left_behind(self, migration: Migration) -> list[str]:
        """Slots, publications, subscriptions, schemas, namespaces and Terraform states that bear the move's name."""
        name = migration.pk.replace("-", "_")
        found: list[str] = []
        for region in (EAST, WEST):
            found += [
                f"{region} {kind} {each}"
                for kind, statement in (
                    ("slot", "SELECT slot_name::text FROM pg_replication_slots"),
                    ("publication", "SELECT pubname::text FROM pg_publication"),
                    ("subscription", "SELECT subname::text FROM pg_subscription"),
                    ("schema", "SELECT nspname::text FROM pg_namespace"),
                    ("origin", "SELECT roname FROM pg_replication_origin"),
                )
                for (each,) in self.rows(region, statement)
                if name in each
            ]
            found += [f"{region} namespace {each}" for each in self.namespaces(region) if name in each]
            moving = self.rows(
                region, "SELECT 1 FROM lifecycle.route WHERE tenant_id = %s AND moving", migration.tenant_id
            )
            found += [f"{region} route says moving" for _ in moving]
        if (Path(settings.RUN_DIR) / "terraform" / name).exists():
            found.append("terraform state")
        return found

    def of_tenant(self, region: str, tenant: str) -> dict[str, int]:
        """How much of the tenant a region holds: documents, and namespaces with its name."""
        ((documents,),) = self.rows(region, "SELECT count(*) FROM documents WHERE tenant_id = %s", tenant)
        return {"documents": documents, "namespaces": self.namespaces(region).count(f"tenant-{tenant}")}

    def namespaces(self, region: str) -> list[str]:
        """Names of a region's Pinecone namespaces."""
        place = self.stack["regions"][region]["pinecone"]
        headers = {"Api-Key": place["key"], "X-Pinecone-Api-Version": "2025-10"}
        page = httpx.get(
            f"{place['index_host']}/namespaces", params={"limit": 100}, headers=headers, timeout=10
        ).json()
        return [each["name"] for each in page.get("namespaces", [])]

    def write(self, customer: Customer) -> str:
        """A document by the region's service that owns the tenant: rows, object, vector. Its id."""
        answer = self.post(EAST, customer)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def post(self, region: str, customer: Customer) -> httpx.Response:
        """A document given to one region's service; what it answers."""
        return httpx.post(
            f"{self.stack['regions'][region]['app']}/documents",
            json={"title": "Late", "text": "What changed late."},
            headers={"x-tenant": customer.id, "x-user": customer.users[0]},
            timeout=10,
        )

    def has(self, region: str, customer: Customer, document: str) -> bool:
        """Whether a region holds the document's row and object."""
        return bool(self._versions(region, customer, document)) and bool(
            self.rows(region, "SELECT 1 FROM documents WHERE id = %s", document)
        )

    def lose_object(self, region: str, customer: Customer, document: str) -> None:
        """Damage: the object is gone there, and nobody is told."""
        for key, version in self._versions(region, customer, document):
            self._s3(region).delete_object(
                Bucket=self.stack["regions"][region]["s3"]["bucket"], Key=key, VersionId=version
            )

    def _versions(self, region: str, customer: Customer, document: str) -> list[tuple[str, str]]:
        found = self._s3(region).list_object_versions(
            Bucket=self.stack["regions"][region]["s3"]["bucket"],
            Prefix=f"tenant-{customer.id}/user-{customer.users[0]}/{document}",
        )
        return [(each["Key"], each["VersionId"]) for each in found.get("Versions", [])]

    def _s3(self, region: str) -> Any:
        place = self.stack["regions"][region]["s3"]
        return clients.aws(
            "s3", endpoint_url=place["endpoint"], aws_access_key_id=place["key"], region_name="us-east-1",
            aws_secret_access_key=place["secret"], config={"s3": {"addressing_style": "path"}},
        )  # fmt: skip

    @staticmethod
    def until(wanted: Callable[[], Any], seconds: float = 30) -> None:
        """Polls until it holds."""
        ends = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < ends, "not within the time"
            time.sleep(0.05)

    @staticmethod
    def hold(customer: Customer) -> LegalHold:
        """A hold on the whole tenant, with a last day that has come."""
        return LegalHold.objects.create(
            tenant_id=customer.id, case_reference="c", type="litigation", state="active", until=timezone.now(),
            placed_by=User.objects.get(username="legal"),
        )  # fmt: skip

    @staticmethod
    def lift(hold: LegalHold) -> None:
        """Its last day has passed."""
        LegalHold.objects.filter(pk=hold.pk).update(state="expired")

    def order(self, migration: Migration) -> Any:
        """The order as the database has it now."""
        return orders.find(migration)


def due(run: Run) -> list[Step]:
    """The steps that a worker would take up now."""
    steps = [step for step in run.steps.order_by("stage", "id") if step.not_before <= timezone.now()]
    if run.cancel_requested:
        return [step for step in steps if step.name == "undo" and step.state != Step.State.DONE]
    ready = {step.pk for step in readiness.standing(run.steps.all()).ready}
    return [step for step in steps if step.pk in ready]


@contextlib.contextmanager
def playing(stack: dict[str, Any], tag: str) -> Iterator[Stage]:
    """A stage with both processes; they are ended at the end."""
    made = Stage(stack, tag)
    try:
        for name in ("watchdog", "applier"):
            made.begin(name)
        yield made
    finally:
        made.hang_up()
        for name in list(made.processes):
            made.end(name)
