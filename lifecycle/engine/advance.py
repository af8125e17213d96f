"""One slice of one step: claim, gates, work, settle."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, connection
from django_q.exceptions import TimeoutException

from lifecycle.engine import claims, settling
from lifecycle.engine.context import Context, Stopped
from lifecycle.engine.leases import LeaseLost
from lifecycle.engine.outcomes import Blocked, Ending, Fail, More, Retry
from lifecycle.engine.workflow import spec_of
from lifecycle.systems.base import Permanent, Transient

log = logging.getLogger(__name__)
TRIES = 5
Result = TypeVar("Result")


def advance(step_id: int) -> str:
    """Works on the step for at most 30 s, if it may be claimed now. Returns a word for the task's result.

    Never raises for what a step does: that is in its row. Raises DatabaseError when the outcome can't be written;
    then the lease lapses and the slice is done again.
    """
    context = _persistently(lambda: claims.claim(step_id))
    if context is None:
        return "not claimed"
    try:
        with context.lease:
            ending = _work(context)
        _persistently(lambda: settling.settle(context, ending))
    except LeaseLost:
        log.warning("Step %s of run %s: another worker has it, nothing was written.", step_id, context.run.pk)
        return "lease lost"
    return type(ending).__name__.lower()


def _work(context: Context) -> Ending:
    try:
        if why := context.gate(context.run):
            return Blocked(why)
        return spec_of(context.step).run(context)
    except Stopped as stopped:
        return Blocked(stopped.why) if stopped.blocked else More(context.cursor)
    except Permanent as error:
        return Fail(_sentence(error))
    except Transient as error:
        return Retry(_sentence(error))
    except TimeoutException:
        return Retry("The slice did not end within the worker's time limit.")
    except LeaseLost:
        raise
    except Exception as error:
        return _unexpected(context, error)


def _unexpected(context: Context, error: Exception) -> Retry:
    """An error nobody foresaw is retried. Its text may name a person, so only its type and places are kept."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " > ".join(
        f"{frame.name} ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})" for frame in frames[-8:]
    )
    log.error(
        "Step %s of run %s: unexpected %s in %s",
        context.step.pk,
        context.run.pk,
        type(error).__name__,
        places,
    )
    last = frames[-1] if frames else None
    where = f" in {last.name} ({last.filename.rsplit('/', 1)[-1]}, line {last.lineno})" if last else ""
    return Retry(f"Unexpected {type(error).__name__}{where}. The worker's log has the way to it.")


def _sentence(error: Exception) -> str:
    return str(error) or f"{type(error).__name__} without a reason."


def _persistently(work: Callable[[], Result]) -> Result:
    """The database may be away for some seconds. A commit whose answer was lost is safe: the lease tells."""
    for attempt in range(TRIES - 1):
        try:
            return work()
        except DatabaseError:
            if connection.in_atomic_block:
                raise
            connection.close()
            time.sleep(2**attempt)
    return work()
