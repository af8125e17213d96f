"""Undoes what a cancelled run made outside: its undo rows, last first, as a step like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import F
from django.utils import timezone

from lifecycle.engine import providers
from lifecycle.engine.context import Context
from lifecycle.engine.outcomes import Done, More, Outcome
from lifecycle.models import Run, Undo

UNDO = "undo"  # the engine's own step, made by a cancellation

UndoFunction = Callable[[Run, Any], None]

_undos: dict[str, UndoFunction] = {}


def register_undo(name: str, function: UndoFunction) -> None:
    """Makes an undo action known. `function(run, arguments)` must be idempotent."""
    _undos[name] = function


def undo_named(name: str) -> UndoFunction:
    """The undo action of this name. Raises Permanent when this version of the program knows none."""
    return providers.find(_undos, name, "undo action")


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
