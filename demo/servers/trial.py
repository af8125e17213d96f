"""What lets a trial disturb and watch a local server: injected faults, a rate limit, an access log.

Changed by `POST /_trial` with the header `X-Trial: 1`; nothing here exists at the real services.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson


@dataclass
class Fault:
    """The next `count` requests whose path contains `path` are answered with `status` and do nothing."""

    status: int = 503
    count: int = 0
    path: str = ""


@dataclass
class Trial:
    """Settings of one server, all times in the unit their name says; 0 switches a thing off."""

    lag_ms: float = 0
    stats_lag_ms: float = 0
    rate_per_s: float = 0
    delete_records_per_s: float = 0
    hang_s: float = 0
    hang_path: str = ""
    delay_s: float = 0
    run_s: float = 0
    missing_namespace: int = 404
    fail: Fault = field(default_factory=Fault)
    _recent: deque[float] = field(default_factory=deque, repr=False)

    def change(self, body: dict[str, Any]) -> None:
        """Set the named settings. Raises ValueError naming what is unknown or malformed."""
        known = {item.name for item in fields(self) if not item.name.startswith("_")}
        for name, value in body.items():
            if name not in known:
                raise ValueError(f"There is no trial setting {name!r}; there are {', '.join(sorted(known))}.")
            if name == "fail":
                if not isinstance(value, dict) or set(value) - {"status", "count", "path"}:
                    raise ValueError("fail takes an object with status, count and path.")
                self.fail = Fault(**value)
            elif isinstance(value, type(getattr(self, name))) or _is_number(value, getattr(self, name)):
                setattr(self, name, value)
            else:
                raise ValueError(f"The trial setting {name} has the wrong type.")

    @staticmethod
    def clock() -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def shown(self) -> dict[str, Any]:
        """The settings as JSON-able values."""
        values = asdict(self)
        values.pop("_recent")
        return values

    def over_rate(self) -> bool:
        """Count one request; True when it exceeds `rate_per_s` within the last second."""
        if not self.rate_per_s:
            return False
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= self.rate_per_s:
            return True
        self._recent.append(now)
        return False

    def take_fault(self, path: str) -> int | None:
        """The status of an injected fault that this request must get, or None."""
        if self.fail.count > 0 and self.fail.path in path:
            self.fail.count -= 1
            return self.fail.status
        return None

    async def hang(self, path: str) -> None:
        """Hold the request back before it has any effect."""
        if self.hang_s and self.hang_path in path:
            await asyncio.sleep(self.hang_s)


def _is_number(value: Any, present: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and isinstance(present, int | float)
        and value >= 0
    )


@dataclass(slots=True)
class Entry:
    """What the access log says of one request: never an id, never a query."""

    method: str
    path: str
    namespace: str = ""
    ids: int = 0
    index: str = ""
    received: float = field(default_factory=time.time)


class AccessLog:
    """JSON lines in a file; one `write` call each, so that kill -9 leaves whole lines."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, entry: Entry, status: int) -> None:
        """Append one line. `time` is when the request had taken effect, `received` when it arrived."""
        line = {
            "time": _utc(time.time()),
            "received": _utc(entry.received),
            "method": entry.method,
            "path": entry.path,
            "index": entry.index,
            "namespace": entry.namespace,
            "ids": entry.ids,
            "status": status,
        }
        os.write(self._fd, orjson.dumps(line) + b"\n")


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
