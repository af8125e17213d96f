"""The one error of every action: what was asked is not allowed, and why."""

from __future__ import annotations

from collections.abc import Iterable


class Refused(Exception):
    """Raised by an action whose check has reasons. `reasons` are sentences without personal data."""

    def __init__(self, *reasons: str) -> None:
        self.reasons: list[str] = list(reasons) or ["This is not allowed."]
        super().__init__(" ".join(self.reasons))


def refuse_if(reasons: Iterable[str]) -> None:
    """Raises Refused where there is at least one reason."""
    found = list(reasons)
    if found:
        raise Refused(*found)
