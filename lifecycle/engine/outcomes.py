"""What one slice of a step came to. Errors are `lifecycle.systems.base.Transient` and `Permanent`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final


class _Keep:
    """The cursor stays as the step left it."""


KEEP: Final = _Keep()


@dataclass(frozen=True, slots=True)
class Done:
    """The step is finished; `result` (JSON, no personal data) is its checkpoint for later steps."""

    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class More:
    """The slice made progress: go on at `cursor` (JSON) at once. `done` of `total` `unit` for people; None keeps what
    was shown."""

    cursor: Any
    done: int | None = None
    total: int | None = None
    unit: str = ""
    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`; `why` is a sentence. The cursor stays unless one is given."""

    until: datetime
    why: str
    cursor: Any = KEEP


@dataclass(frozen=True, slots=True)
class Blocked:
    """The run may not go on until a person or a hold lets it; `why` is a sentence. `resume` wakes it."""

    why: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The engine's own: a transient failure. Tried again after a backoff, then the step fails."""

    error: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The engine's own: a permanent failure."""

    error: str


Outcome = Done | More | Wait | Blocked
Ending = Outcome | Retry | Fail
