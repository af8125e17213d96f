"""Memory of a cluster's processes, sampled from /proc."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

EVERY = 0.1


def descendants(pid: int) -> list[int]:
    """`pid` and every process below it."""
    found, queue = [pid], [pid]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            with suppress(OSError):
                children = [int(each) for each in task.read_text().split()]
                found += children
                queue += children
    return found


def memory(pid: int, name: str = "VmRSS") -> float:
    """MiB that one process has in memory now (`VmHWM`: had at most since it started); 0 where it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    return 0.0


class Watch:
    """The highest memory of any single process of a cluster, for as long as it is followed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak = 0.0
        self.samples = 0
        self.over = threading.Event()

    def follow(self) -> None:
        """Samples until `over` is set. The kernel's own high-water mark covers what falls between two samples."""
        while not self.over.wait(EVERY):
            self.peak = max([self.peak, *(memory(each, "VmHWM") for each in descendants(self.pid))])
            self.samples += 1

    def wait_settled(self, timeout: float = 60.0) -> None:
        """Returns when the cluster has had the same processes for a second: its workers are up."""
        ends, since, known = time.monotonic() + timeout, time.monotonic(), set[int]()
        while time.monotonic() < ends:
            now = set(descendants(self.pid))
            if now != known or len(now) < 3:
                known, since = now, time.monotonic()
            elif time.monotonic() - since > 1.0:
                return
            time.sleep(EVERY)
        raise RuntimeError(
            "The workers did not start within a minute; look at the log in the stack's folder."
        )
