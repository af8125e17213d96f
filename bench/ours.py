"""Our side of a race: the erasure's own steps on one system, under the real fence, then the verifier."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast

from django.contrib.auth.models import User

from bench.sets import customer
from compliance.actors import person
from demo.platform import own_rows
from lifecycle import places
from lifecycle.engine.leases import Lease
from lifecycle.engine.outcomes import Done
from lifecycle.engine.workflow import Context
from lifecycle.erasure import cases, intake, manifest
from lifecycle.erasure.cases import CaseFile
from lifecycle.erasure.steps import discover, erase, plant
from lifecycle.models import Run, Step, SystemLine
from lifecycle.systems.base import Action


class BenchContext(Context):
    """One slice without end and without a lease: nothing else works on the case."""

    def __init__(self, request_id: str, system: str) -> None:
        run = Run(workflow=cases.WORKFLOW, subject=request_id)
        super().__init__(run, Step(run=run, name="erase", lane=system), cast(Lease, None), lambda _run: None)

    def time_left(self) -> float:
        """Never over."""
        return 3_600.0

    def heartbeat(self) -> None:
        """Nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of the parts of one erasure of one system."""

    discover: float
    erase: float
    remaining: float
    search: float

    @property
    def unverified(self) -> float:
        return self.discover + self.erase

    @property
    def verified(self) -> float:
        return self.unverified + self.remaining + self.search


def prepare(system: str, tenant: str) -> CaseFile:
    """What comes before the timed steps: the request filed and previewed on a filled tenant, the canaries planted and
    seen by the verifier, as the step `plant` does it."""
    owner = customer(tenant)
    own_rows.enrol(owner)
    engineer = person(User.objects.get(username="engineer"), via="shell")
    request = intake.request(actor=engineer, tenant_id=tenant, requested_by=owner.admin)
    cases.open_case(request)
    file = cases.of_request(request)
    context = BenchContext(request.pk, system)
    for line in file.lines(system):
        with places.eraser(line.environment, line.system, file.datamap) as eraser:
            plant.plant(file, line, eraser, context)
        file = cases.of_request(request)
        plant.see(file, line, context)
    return cases.of_request(request)


def race(system: str, file: CaseFile, number: int) -> Times:
    """Discovers, erases and verifies. Raises RuntimeError where fewer than `number` records went, or any is left."""
    began = time.perf_counter()
    _must_end(discover.run(BenchContext(file.request.pk, system)))
    discovered = time.perf_counter()
    _must_end(erase.run(BenchContext(file.request.pk, system)))
    erased = time.perf_counter()
    (line,) = cases.of_request(file.request).lines(system)
    if line.erased + line.anonymised < number:
        raise RuntimeError(f"{system}: {line.erased} of {number} records were erased.")
    looked, searched = _verify(cases.of_request(file.request), line)
    return Times(discovered - began, erased - discovered, looked, searched)


def _must_end(outcome: Any) -> None:
    if not isinstance(outcome, Done):
        raise RuntimeError(f"A step of the benchmark ended as {outcome}.")


def _verify(file: CaseFile, line: SystemLine) -> tuple[float, float]:
    began = time.perf_counter()
    left = 0
    with places.verifier(line.environment, line.system, file.datamap) as verifier:
        for chunk in line.chunks.order_by("index").iterator(chunk_size=1):
            gone = manifest.items(chunk, file.key).where(lambda run: run.action != Action.RETAIN)
            left += len(verifier.remaining(file.scope, gone))
        looked = time.perf_counter()
        cursor: Any = None
        while True:
            page = verifier.search(file.scope, cursor)
            left += sum(hit.belongs or hit.needle == "canary" for hit in page.entries)
            cursor = page.cursor
            if cursor is None:
                break
    if left:
        raise RuntimeError(f"{line.system}: the verifier still found {left} records.")
    return looked - began, time.perf_counter() - looked
