"""`/metrics` for Prometheus: what the rows say now. With the token of METRICS_TOKEN or, where none is set, from loopback."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterator

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.utils import timezone

from compliance import statements
from compliance.models import ErasureRequest, LegalHold
from lifecycle.api import migration_metrics
from lifecycle.models import Heartbeat, Run, Step

_ENDED = (ErasureRequest.State.COMPLETED, ErasureRequest.State.REJECTED, ErasureRequest.State.CANCELLED)
Sample = tuple[str, float]  # labels as they are written, value


def metrics(request: HttpRequest) -> HttpResponse:
    """The text format, version 0.0.4. No label names a tenant's person."""
    if not _may_read(request):
        return HttpResponseForbidden(
            "Metrics are read from this machine, or with the token of METRICS_TOKEN.\n"
        )
    lines = [line for name, help_, samples in _families() for line in _family(name, help_, samples)]
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4; charset=utf-8")


def _may_read(request: HttpRequest) -> bool:
    token: str = settings.METRICS_TOKEN
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token:
        return hmac.compare_digest(given.encode(), token.encode())
    # A proxy on this machine makes everybody look local; it says for whom it asks.
    proxied = any(name in request.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"))
    return not proxied and request.META.get("REMOTE_ADDR") in ("127.0.0.1", "::1")


def _families() -> Iterator[tuple[str, str, list[Sample]]]:
    now = timezone.now()
    yield (
        "lifecycle_erasure_requests",
        "Erasure requests by state.",
        [(f'{{state="{state}"}}', number) for state, number in sorted(_states().items())],
    )
    late = ErasureRequest.objects.filter(deadline__lt=now, closed_at=None).exclude(state__in=_ENDED).count()
    yield "lifecycle_erasure_overdue", "Requests past their deadline and not ended.", [("", late)]
    held = statements.visible_holds(None).filter(state__in=LegalHold.BLOCKING).count()
    yield "lifecycle_legal_holds", "Legal holds in force, without confidential ones.", [("", held)]
    runs = (
        Run.objects.exclude(subject__in=statements.veil(None).holds)
        .values_list("workflow", "state")
        .annotate(number=Count("pk"))
        .order_by("workflow", "state")
    )
    yield (
        "lifecycle_runs",
        "Runs by workflow and state.",
        [(f'{{workflow="{w}",state="{s}"}}', n) for w, s, n in runs],
    )
    failed = Step.objects.filter(state=Step.State.FAILED).count()
    yield "lifecycle_steps_failed", "Steps that failed and were not tried again.", [("", failed)]
    beats = Heartbeat.objects.values_list("queue", "at")
    ages = [(f'{{queue="{queue}"}}', round((now - at).total_seconds(), 1)) for queue, at in beats]
    yield "lifecycle_worker_heartbeat_age_seconds", "Seconds since the canary task of a queue ran.", ages
    yield from migration_metrics.families()


def _states() -> Counter[str]:
    """Requests by state, in the words for whoever is not of legal: the graphs are everybody's."""
    stopped = ErasureRequest.objects.filter(state=ErasureRequest.State.BLOCKED_BY_HOLD)
    found = Counter(statements.shown_code(each) for each in stopped)
    others = ErasureRequest.objects.exclude(state=ErasureRequest.State.BLOCKED_BY_HOLD)
    found.update(dict(others.values_list("state").annotate(number=Count("pk")).order_by("state")))
    return found


def _family(name: str, help_: str, samples: list[Sample]) -> list[str]:
    return [
        f"# HELP {name} {help_}",
        f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}",
        *[f"{name}{labels} {value}" for labels, value in samples],
    ]
