"""What the task queue does by the clock: the sweep, and a canary through each queue that `worker_health` reads."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone
from django_q.models import Schedule

from lifecycle.engine.workflow import QUEUES
from lifecycle.models import Heartbeat

SILENT_AFTER = timedelta(minutes=3)
_LOCK = 7_040_002


def ensure_schedules() -> None:
    """Makes our schedules, each once, and corrects changed ones; idempotent, safe from several machines at once."""
    wanted: dict[str, tuple[str, str | None, str]] = {"sweep": ("lifecycle.tasks.sweep", None, "")}
    wanted |= {f"heartbeat {queue}": ("lifecycle.tasks.heartbeat", queue, repr((queue,))) for queue in QUEUES}
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])  # schedules have no unique name
        for name, (func, queue, args) in wanted.items():
            fixed = {
                "func": func,
                "cluster": queue,
                "args": args or None,
                "schedule_type": Schedule.MINUTES,
                "minutes": 1,
            }
            Schedule.objects.update_or_create(name=name, defaults={**fixed, "repeats": -1})


def beat(queue: str) -> None:
    """Notes that a worker of this queue took a task now."""
    Heartbeat.objects.update_or_create(queue=queue, defaults={"at": timezone.now()})


def silent_queues(queues: tuple[str, ...] = QUEUES) -> list[str]:
    """Sentences about queues through which no canary came for three minutes; [] when all work."""
    seen = dict(Heartbeat.objects.filter(queue__in=queues).values_list("queue", "at"))
    now = timezone.now()
    late = []
    for queue in queues:
        if queue not in seen:
            late.append(f"No worker has ever answered on queue {queue}. Start `manage.py qcluster`.")
        elif now - seen[queue] > SILENT_AFTER:
            seconds = (now - seen[queue]).total_seconds()
            late.append(f"Queue {queue} has been silent for {seconds:.0f} s. Restart `manage.py qcluster`.")
    return late
