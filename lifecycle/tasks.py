"""What workers are asked to do. An id is all that a message carries; everything is decided by our rows."""

from __future__ import annotations

from lifecycle.engine import schedules, sweeper
from lifecycle.engine.advance import advance as advance_step


def advance(step_id: int) -> str:
    """One slice of one step."""
    return advance_step(step_id)


def sweep() -> str:
    """Once a minute: what fell between, then the chores. The result names chores that failed."""
    freed = sweeper.sweep()
    failed = sweeper.do_chores()
    return f"{freed} freed" + (f", failed: {', '.join(failed)}" if failed else "")


def heartbeat(queue: str = "default") -> str:
    """The canary of one queue."""
    schedules.beat(queue)
    return queue
