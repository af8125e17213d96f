"""What Prometheus reads of moves: state, duration, steps, traffic, lag, differences, rollbacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone

from lifecycle.health.prometheus import escaped
from lifecycle.models import Beat, Migration, Order, Reading, Step

Sample = tuple[str, float]
Family = tuple[str, str, list[Sample]]
RECENT = timedelta(days=1)  # an ended move is told of this long
_LAG = {
    "lifecycle_migration_lag_bytes": ("lag_bytes", "Bytes of log that the follower has not applied."),
    "lifecycle_migration_lag_seconds": (
        "lag_s",
        "Age of the oldest change that the follower has not applied.",
    ),
    "lifecycle_migration_changes_behind": (
        "changes_behind",
        "Objects and vectors that are still to be carried over.",
    ),
}


def families() -> Iterator[Family]:
    """Each family's name, help text and samples."""
    states = Migration.objects.values_list("state").annotate(number=Count("pk")).order_by("state")
    yield "lifecycle_migrations", "Moves by state.", [(f'{{state="{s}"}}', n) for s, n in states]
    rolled_back = Migration.objects.filter(state=Migration.State.ROLLED_BACK).count()
    yield "lifecycle_migration_rollbacks_total", "Moves that went back to blue.", [("", rolled_back)]
    told = list(
        Migration.objects.filter(
            ~Q(state__in=Migration.ENDED) | Q(finished_at__gte=timezone.now() - RECENT)
        ).select_related("run")
    )
    yield (
        "lifecycle_migration_seconds",
        "Seconds since a move was started, or that it took.",
        _durations(told),
    )
    yield (
        "lifecycle_migration_step_percent",
        "How far each step of a move is.",
        list(_steps([each for each in told if each.state not in Migration.ENDED])),
    )
    yield (
        "lifecycle_migration_verification_failures",
        "Differences that the last comparison found, by kind.",
        [
            (_labels(each, kind=kind), number)
            for each in told
            for kind, number in sorted(dict(each.verification.get("kinds", {})).items())
        ],
    )
    yield from _traffic(told)
    beats = Beat.objects.values_list("name", "at")
    ages = [(f'{{process="{name}"}}', round((timezone.now() - at).total_seconds(), 1)) for name, at in beats]
    yield "lifecycle_process_beat_age_seconds", "Seconds since a process of ours was last seen.", ages


def _durations(moves: list[Migration]) -> list[Sample]:
    now = timezone.now()
    return [
        (
            _labels(each, state=each.state),
            round(((each.finished_at or now) - each.started_at).total_seconds(), 1),
        )
        for each in moves
        if each.started_at
    ]


def _steps(moves: list[Migration]) -> Iterator[Sample]:
    by_run = {each.run_id: each for each in moves if each.run_id}
    for step in Step.objects.filter(run__in=list(by_run)).order_by("run", "stage", "id"):
        if step.state == Step.State.DONE:
            percent = 100.0
        else:
            percent = round(100 * step.done / step.total, 1) if step.total else 0.0
        yield _labels(by_run[step.run_id], step=step.name, lane=step.lane), percent


def _traffic(moves: list[Migration]) -> Iterator[Family]:
    by_id = {each.pk: each for each in moves}
    orders = list(Order.objects.filter(migration__in=by_id, closed=False))
    yield (
        "lifecycle_migration_share_percent",
        "Percent of a tenant's users that green serves.",
        [(_labels(by_id[each.migration_id]), each.share) for each in orders],
    )
    yield (
        "lifecycle_migration_latched",
        "1 where the watchdog went back to blue and waits for a person.",
        [(_labels(by_id[each.migration_id]), int(each.latched)) for each in orders],
    )
    last: dict[str, Mapping[str, Any]] = {}
    for order in orders:
        reading = Reading.objects.filter(migration=order.migration_id).order_by("-id").first()
        if reading:
            last[order.migration_id] = reading.data
    for name, (field, help_) in _LAG.items():
        yield (
            name,
            help_,
            [
                (_labels(by_id[pk]), float(data[field]))
                for pk, data in last.items()
                if data.get(field) is not None
            ],
        )
    yield (
        "lifecycle_migration_way_back_seconds",
        "How long going back to blue would take now, by the last probe.",
        [
            (_labels(by_id[pk]), float(data["ready_back"]["seconds"]))
            for pk, data in last.items()
            if (data.get("ready_back") or {}).get("seconds") is not None
        ],
    )


def _labels(move: Migration, **more: str) -> str:
    every = {"migration": move.pk, "tenant": move.tenant_id, **more}
    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in every.items()) + "}"
