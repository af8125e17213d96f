"""Hands a step to a worker: one row of django-q2's ORM broker, written in the caller's transaction.

A rollback takes the message back (a transactional outbox), and a message can be due later: the broker leaves a row
alone until its `lock` has passed. Two messages for one step are harmless: only one claim wins.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.models import OrmQ
from django_q.signing import BadSignature, SignedPackage
from django_q.tasks import async_task

from lifecycle.engine.workflow import queue_of
from lifecycle.models import Step

ADVANCE = "lifecycle.tasks.advance"
MOST_LOOKED_AT = 5_000


class _Delayed(ORM):  # type: ignore[misc]  # django-q2 has no types
    """The ORM broker with a time before which a message is not delivered."""

    due: datetime | None = None

    def enqueue(self, task: str) -> int:
        at = self.due or timezone.now()
        made: int = OrmQ.objects.create(key=self.list_key, payload=task, lock=at).pk
        return made


class InTurn(ORM):  # type: ignore[misc]
    """The ORM broker for workers: what is due longest comes first.

    django-q2 takes any message that is due. With more of them than the workers manage, new ones then come first and old
    ones never: a step of one of fifty moves waited for a quarter of an hour.
    """

    @staticmethod
    def get_connection(list_key: str | None = None) -> QuerySet[OrmQ]:
        """All messages, in turn."""
        found: QuerySet[OrmQ] = ORM.get_connection(list_key).order_by("lock", "id")
        return found


def enqueue(step: Step, *, due: datetime | None = None) -> None:
    """Queues one slice of `step`, not before `due`, and notes the time on the step."""
    broker = _Delayed(queue_of(step))
    broker.due = due
    async_task(ADVANCE, step.pk, broker=broker, save=False, cluster=broker.list_key)
    Step.objects.filter(pk=step.pk).update(enqueued_at=Now())


def queued_steps() -> set[int] | None:
    """Steps with a message that waits for a worker now; None when there are too many messages to look at."""
    waiting = OrmQ.objects.filter(lock__lte=timezone.now()).values_list("payload", flat=True)
    packages = list(waiting[: MOST_LOOKED_AT + 1])
    if len(packages) > MOST_LOOKED_AT:
        return None
    found = set()
    for package in packages:
        try:
            task = SignedPackage.loads(package)
        except (TypeError, BadSignature):
            continue  # not ours; the worker that takes it throws it away
        if task["func"] == ADVANCE:
            found.add(int(task["args"][0]))
    return found
