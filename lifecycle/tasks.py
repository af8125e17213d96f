"""What workers are asked to do. An id is all that a message carries; everything is decided by our rows.

django-q2 keeps the text and traceback of an error in its own table. That text may name a person, so only the error's
type and place go on from here.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from lifecycle.engine import schedules, sweeper
from lifecycle.engine.advance import advance as advance_step

Given = ParamSpec("Given")


class TaskFailed(Exception):
    """A task of ours failed; says where, and nothing of what it worked on."""


def _discreet(task: Callable[Given, str]) -> Callable[Given, str]:
    @wraps(task)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> str:
        try:
            return task(*args, **kwargs)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            places = " > ".join(
                f"{each.name} ({each.filename.rsplit('/', 1)[-1]}:{each.lineno})" for each in frames
            )
            failed = TaskFailed(f"{type(error).__name__} in {places}")
        raise failed

    return run


@_discreet
def advance(step_id: int) -> str:
    """One slice of one step."""
    return advance_step(step_id)


@_discreet
def sweep() -> str:
    """Once a minute: what fell between, then the chores. The result names chores that failed."""
    freed = sweeper.sweep()
    failed = sweeper.do_chores()
    return f"{freed} freed" + (f", failed: {', '.join(failed)}" if failed else "")


@_discreet
def heartbeat(queue: str = "default") -> str:
    """The canary of one queue."""
    schedules.beat(queue)
    return queue
