"""Faults that a trial switches on: the service then fails as services do."""

from __future__ import annotations

import os
import random
import threading
from dataclasses import dataclass
from typing import Any

KINDS = ("errors", "latency", "wrong", "hang", "crash")
LONGEST_HANG = 120.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `share` of the requests, of `tenant` only where it is given; `ms` for latency."""

    kind: str
    share: float = 1.0
    ms: float = 0
    tenant: str = ""


class Faults:
    """At most one fault of each kind at a time. Safe in threads."""

    def __init__(self) -> None:
        self._now: tuple[Fault, ...] = ()
        self._changed = threading.Condition()

    def switch_on(self, body: dict[str, Any]) -> None:
        """Raises ValueError naming what is wrong."""
        unknown = set(body) - {"kind", "share", "ms", "tenant"}
        if unknown or body.get("kind") not in KINDS:
            raise ValueError(f"A fault has kind ({', '.join(KINDS)}), share, ms and tenant.")
        fault = Fault(
            str(body["kind"]),
            float(body.get("share", 1)),
            float(body.get("ms", 0)),
            str(body.get("tenant", "")),
        )
        with self._changed:
            self._now = (*(each for each in self._now if each.kind != fault.kind), fault)
            self._changed.notify_all()

    def clear(self) -> None:
        """Switches all off; requests that hang go on."""
        with self._changed:
            self._now = ()
            self._changed.notify_all()

    def meets(self, kind: str, tenant: str) -> Fault | None:
        """The fault that this request must suffer, by chance where it hits a share."""
        for each in self._now:
            if each.kind == kind and each.tenant in ("", tenant) and random.random() < each.share:
                return each
        return None

    def hold_up(self, tenant: str) -> None:
        """Crashes, or hangs until the faults are cleared, or waits."""
        if self.meets("crash", tenant):
            os._exit(70)
        if self.meets("hang", tenant):
            with self._changed:
                self._changed.wait_for(lambda: not self._now, LONGEST_HANG)
        slow = self.meets("latency", tenant)
        if slow:
            threading.Event().wait(slow.ms / 1000)
