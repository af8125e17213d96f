"""Undoes what a cancelled run made outside: its undo rows, last first, as a step like any other."""

from __future__ import annotations

from django.db.models import F
from django.utils import timezone

from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Done, More, Outcome
from lifecycle.engine.workflow import UNDO, StepSpec, undo_named
from lifecycle.models import Undo


def run(context: Context) -> Outcome:
    """Carries out undo rows in reverse until none is left or the slice's time is over. Each is idempotent."""
    total = context.run.undos.count()
    while (row := context.run.undos.filter(undone_at=None).order_by("-id").first()) is not None:
        if context.time_left() <= 0:
            return More(
                None, done=total - context.run.undos.filter(undone_at=None).count(), total=total, unit="undos"
            )
        Undo.objects.filter(pk=row.pk).update(attempts=F("attempts") + 1)
        undo_named(row.action)(context.run, row.arguments)
        Undo.objects.filter(pk=row.pk).update(undone_at=timezone.now())
        context.heartbeat()
        context.cursor = row.pk  # one undone is progress: the retries count anew
    return Done({"undone": total})


SPEC = StepSpec(UNDO, stage=0, run=run)
