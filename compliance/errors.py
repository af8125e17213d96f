"""The one error of every action: what was asked is not allowed, and why."""

from __future__ import annotations

from collections.abc import Iterable


class Refused(Exception):
    """Raised by an action whose check has reasons: one sentence each, or a list of them, without personal data."""

    def __init__(self, *reasons: str | Iterable[str]) -> None:
        self.reasons: list[str] = []
        for reason in reasons:
            self.reasons.extend([reason] if isinstance(reason, str) else reason)
        if not self.reasons:
            self.reasons.append("This is not allowed.")
        super().__init__(" ".join(self.reasons))


def refuse_if(reasons: Iterable[str]) -> None:
    """Raises Refused where there is at least one reason."""
    found = list(reasons)
    if found:
        raise Refused(found)
