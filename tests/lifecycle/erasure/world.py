"""A platform to erase from: every test gets tenants of its own on the real servers of the stack."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User

from compliance.actions import deciding
from compliance.actors import Actor, person
from compliance.models import ErasureRequest
from demo.platform import own_rows
from demo.platform.cast import EAST, Customer, mail
from demo.platform.seed import everything
from lifecycle.engine import runs
from lifecycle.erasure import actions, intake, status
from lifecycle.models import Environment, Run
from lifecycle.systems.base import SYSTEMS
from tests.lifecycle.erasure.reading import Found
from tests.lifecycle.erasure.wiping import wipe

_numbers = itertools.count(1)


@dataclass
class World:
    """What a test may ask for."""

    stack: dict[str, Any]
    tag: str
    passing: list[Customer] = field(default_factory=list)

    def tenant(
        self,
        *users: str,
        kind: str = "standard",
        id_: str | None = None,
        lasting: bool = False,
        systems: Collection[str] = SYSTEMS,
    ) -> Customer:
        """A new tenant with these users, enrolled and seeded in every system: until the test ends, or `lasting`.

        With fewer `systems` the tenant's environment has no others: an erasure takes half the time.
        """
        name = id_ or f"{self.tag}{next(_numbers)}"
        customer = Customer(name, f"Test {name}", EAST, kind=kind, users=users or ("ada", "bob"))
        own_rows.enrol(customer)
        if set(systems) != set(SYSTEMS):
            home = Environment.objects.get(tenant_id=name)
            home.places = {system: home.places[system] for system in systems}
            home.save(update_fields=["places"])
        everything.seed(self.stack, [customer])
        if not lasting:
            self.passing.append(customer)
        return customer

    def clear(self) -> None:
        """Takes what the test's own tenants left out of every system."""
        wipe(self.stack, self.passing)
        self.passing.clear()

    def actor(self, name: str) -> Actor:
        """One of the seven people."""
        return person(User.objects.get(username=name), via="shell")

    def request(self, customer: Customer, user: str | None = None, **facts: Any) -> ErasureRequest:
        """A request by the tenant's administrator, previewed."""
        return intake.request(
            actor=self.actor("engineer"),
            tenant_id=customer.id,
            user=user,
            requested_by=customer.admin,
            **facts,
        )

    def approve(self, request: ErasureRequest) -> Run:
        """Approved by whom it needs, and started."""
        deciding.approve(request, actor=self.actor("officer"), digest=request.digest)
        if request.subject_kind == "tenant":
            deciding.approve(request, actor=self.actor("legal"), digest=request.digest)
        request.refresh_from_db()
        return actions.live_run(request) or actions.start(request)

    def erase(self, customer: Customer, user: str | None = None, **facts: Any) -> ErasureRequest:
        """From the request to the end of its run, in this process."""
        request = self.request(customer, user, **facts)
        self.finish(self.approve(request))
        request.refresh_from_db()
        return request

    def finish(self, run: Run, timeout: float = 280.0) -> Run:
        """Works the run to its end in this process."""
        return runs.execute(run, timeout=timeout)

    def status(self, request: ErasureRequest) -> dict[str, Any]:
        """As `erasure status` says it, from rows read anew."""
        return status.of(ErasureRequest.objects.get(pk=request.pk))

    def mail(self, customer: Customer, user: str) -> str:
        """A user's mail address."""
        return mail(customer.id, user)


@dataclass(frozen=True)
class Finished:
    """A user's erasure as it stood when it had ended; `before` is the twin's digest, `after` all that the region held."""

    customer: Customer
    twin: Customer
    request: ErasureRequest
    before: dict[str, str]
    after: list[Found]
    status: dict[str, Any]
    files: list[Path]


def failures(run: Run) -> Iterator[str]:
    """What the failed steps say."""
    for step in run.steps.exclude(error=""):
        yield f"{step.name} {step.lane}: {step.error}"
