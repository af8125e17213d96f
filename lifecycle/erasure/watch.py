"""The watch after a certificate: what comes back and is older than the erasure reopens the case."""

from __future__ import annotations

import logging

from django.conf import settings
from django.utils import timezone

from compliance.actors import SYSTEM
from compliance.models import ErasureRequest
from lifecycle.erasure import actions, cases, intake, trail

log = logging.getLogger(__name__)


def every() -> float:
    """Seconds between two looks at one case: a day, or a tenth of a shortened watch."""
    return max(1.0, min(86_400.0, float(settings.WATCH_SECONDS) / 10))


def look(request: ErasureRequest) -> int:
    """Searches every system again for the subject; reopens the case when something of it is there. Returns how much."""
    file = cases.of_request(request)
    _, found = intake.count(request.tenant, file.scope, file.datamap)
    back = {
        name: sum(number for action, number in each["actions"].items() if action != "retain")
        for name, each in found.items()
    }
    back = {name: number for name, number in back.items() if number}
    trail.note(request, "erasure.watched", found=back)
    if back:
        where = ", ".join(f"{name} ({number})" for name, number in sorted(back.items()))
        log.warning("request %s: data came back in %s; reopened", request.pk, where)
        actions.reopen(request, actor=SYSTEM, reason=f"Data of the subject came back in {where}.")
    return sum(back.values())


def due(request: ErasureRequest) -> bool:
    """True where a look is due."""
    from compliance.models import AuditEvent

    last = (
        AuditEvent.objects.filter(case_id=request.pk, verb="erasure.watched")
        .order_by("-seq")
        .values_list("at", flat=True)
        .first()
    )
    since = last or request.completed_at
    return since is None or (timezone.now() - since).total_seconds() >= every()
