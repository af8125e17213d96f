"""What a provider still kept when the certificate was issued: looked at once more at its date, closed by an addendum."""

from __future__ import annotations

import logging
from typing import Any

from django.utils import timezone

from compliance.actions import certifying
from compliance.actors import SYSTEM
from compliance.models import ErasureRequest
from lifecycle import places
from lifecycle.engine.progress import moment
from lifecycle.erasure import cases, lines, manifest
from lifecycle.models import SystemLine
from lifecycle.systems.base import Action

log = logging.getLogger(__name__)
STATES = ErasureRequest.State


def due() -> list[ErasureRequest]:
    """Finished requests with a line whose provider's date has passed."""
    return list(
        ErasureRequest.objects.filter(
            state__in=[STATES.COMPLETED, STATES.PARTIALLY_COMPLETED],
            closed_at=None,
            case__lines__state=SystemLine.State.PENDING_PURGE,
            case__lines__purge_by__lte=timezone.now(),
        ).distinct()
    )


def close_due() -> int:
    """Issues the addendum of every request that is due; returns how many."""
    return sum(1 for request in due() if close(request))


def close(request: ErasureRequest) -> bool:
    """One request: every line whose date has passed is read again; False when something of it is there."""
    file = cases.of_request(request)
    passed = list(
        file.case.lines.filter(
            state=SystemLine.State.PENDING_PURGE, purge_by__lte=timezone.now()
        ).select_related("environment")
    )
    closed: list[dict[str, Any]] = []
    for line in passed:
        if left := _left(file, line):
            log.error(
                "request %s: %s items of %s are readable at the provider's date",
                request.pk,
                left,
                line.system,
            )
            return False
        closed.append(
            {
                "system": line.system,
                "environment": line.environment_id,
                "until": moment(line.purge_by),
                "observed_at": moment(timezone.now()),
                "how": "the provider's stated term has passed; every identifier of the manifest was asked for again and none answered",
            }
        )
    certificate = certifying.addendum(request, actor=SYSTEM, closed=closed)
    certifying.deliver(certificate, actor=SYSTEM)
    for line in passed:
        lines.mark(line, SystemLine.State.ERASED)
    return True


def _left(file: cases.CaseFile, line: SystemLine) -> int:
    left = 0
    with places.verifier(line.environment, line.system, file.datamap) as verifier:
        for chunk in line.chunks.order_by("index"):
            gone = manifest.items(chunk, file.key).where(lambda run: run.action != Action.RETAIN)
            left += len(verifier.remaining(file.scope, gone)) if gone else 0
    return left
