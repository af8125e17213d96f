"""What each system's line says: counts come from the manifest, so that a killed worker can't count twice."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone

from lifecycle.erasure import manifest
from lifecycle.models import SystemLine
from lifecycle.systems.base import Action, Locked


def recount(line: SystemLine) -> SystemLine:
    """Sets found, erased, anonymised and retained from the sealed manifest, less what is locked."""
    counts = manifest.count(line)
    locked = len(line.detail.get("locked", {}))
    line.found = sum(counts.get(str(action), 0) for action in Action)
    line.erased = max(0, counts.get("gone:erase", 0) - locked)
    line.anonymised = counts.get("gone:anonymise", 0)
    line.retained = counts.get("retain", 0)
    line.save(update_fields=["found", "erased", "anonymised", "retained"])
    return line


def mark(line: SystemLine, state: str, **fields: Any) -> None:
    """Moves a line to `state` with other fields; nothing else of it is written."""
    line.state = state
    for name, value in fields.items():
        setattr(line, name, value)
    line.save(update_fields=["state", *fields])


def lock(line: SystemLine, found: list[Locked], hashes: list[str]) -> None:
    """Notes what can't be erased before a date: hashes of its keys, the latest date, the reasons."""
    if not found:
        return
    detail = dict(line.detail)
    locked = dict(detail.get("locked", {}))
    for each, name in zip(found, hashes, strict=True):
        locked[name] = each.until.isoformat() if each.until else ""
    detail["locked"] = locked
    detail["locked_why"] = sorted({each.why for each in found} | set(detail.get("locked_why", [])))
    dates = [each.until for each in found if each.until]
    line.locked_until = max([*dates, line.locked_until] if line.locked_until else dates, default=None)
    line.detail = detail
    line.save(update_fields=["detail", "locked_until"])


def unlock(line: SystemLine) -> None:
    """Before locked items are tried again: forgets what was noted."""
    detail = {name: value for name, value in line.detail.items() if name not in ("locked", "locked_why")}
    line.detail = detail
    line.locked_until = None
    line.save(update_fields=["detail", "locked_until"])


def note(line: SystemLine, **values: Any) -> None:
    """Adds facts (method, verifier, kinds) to a line's detail; no personal data."""
    line.detail = {**line.detail, **values}
    line.save(update_fields=["detail"])


def lock_passed(line: SystemLine) -> bool:
    """True where every date that locked something has passed, or where nobody knows the date and a wait for it ended."""
    until: datetime | None = line.locked_until
    if until is None:
        return bool(line.detail.get("locked")) and line.state == SystemLine.State.LOCKED
    return bool(line.detail.get("locked")) and until <= timezone.now()
