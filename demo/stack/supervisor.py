"""The small daemon that starts the servers, restarts one that died, and ends them all.

Only the main thread starts servers: each asks the kernel to be killed with the thread that started it,
so a killed supervisor leaves no orphan. It is told what to do by files and signals only: a file
`held/NAME` keeps a server down, SIGTERM ends everything.
"""

import logging
import signal
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from demo.stack import gnupg, seaweed
from demo.stack.catalogue import all_servers
from demo.stack.describe import describe
from demo.stack.place import Place, write_private
from demo.stack.process import Identity, end, identify
from demo.stack.server import Server, spawn

TICK = 0.05
QUIET_TICK = 0.2
READY_WITHIN = 90.0
# A server that fails at once is tried again ever more slowly, one that ran for a while at once.
FIRST_PAUSE, LONGEST_PAUSE, RAN_WELL = 0.1, 5.0, 5.0
# One that never became ready has this many tries: something is wrong that a restart does not mend.
TRIES = 6

log = logging.getLogger("demo.stack")


class Watched:
    """One server under watch. `state`: preparing, starting, ready, dead, held or failed."""

    def __init__(self, place: Place, server: Server, pool: ThreadPoolExecutor) -> None:
        self.server = server
        self.state = "preparing"
        self.error = ""
        self.identity: Identity | None = None
        self._place = place
        self._pool = pool
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._next_start = 0.0
        self._pause = FIRST_PAUSE
        self._set_up = False
        self._deaths = 0
        self._job: Future[None] = pool.submit(server.prepare)

    def step(self) -> None:
        """Look once at the server and do the next thing."""
        now = time.monotonic()
        if self.state == "preparing":
            if self._finished("dead"):
                self._next_start = 0.0
        elif self.state == "held":
            if not self._is_held():
                self.state = "dead"
        elif self._process is not None and self._process.poll() is not None:
            self._note_death(now)
        elif self.state == "starting":
            self._finished("ready")
        if self.state == "dead" and self._is_held():
            self.state = "held"
        elif self.state == "dead" and now >= self._next_start:
            self._start(now)

    def _is_held(self) -> bool:
        return (self._place.root / "held" / self.server.name).exists()

    def _start(self, now: float) -> None:
        self._process = spawn(self.server, self._place.log(self.server.name))
        self.identity = identify(self._process.pid)
        self.state, self._started = "starting", now
        self._job = self._pool.submit(self._until_ready, self._process)

    def _note_death(self, now: float) -> None:
        assert self._process is not None  # noqa: S101 - only called with one
        log.warning("%s ended with code %s", self.server.name, self._process.returncode)
        self._pause = FIRST_PAUSE if now - self._started > RAN_WELL else min(self._pause * 2, LONGEST_PAUSE)
        self._process, self.identity = None, None
        self._deaths += 1
        if not self._set_up and self._deaths >= TRIES:
            self.state = "failed"
            self.error = f"ended {TRIES} times before it was ready; see {self._place.log(self.server.name)}"
        else:
            self.state, self._next_start = "dead", now + self._pause

    def _finished(self, following: str) -> bool:
        if not self._job.done():
            return False
        failure = self._job.exception()
        if failure is None:
            self.state = following
            return True
        self.state, self.error = "failed", f"{type(failure).__name__}: {failure}"
        log.error("%s failed: %s", self.server.name, self.error)
        return False

    def _until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + READY_WITHIN
        # The returncode attribute is set by the main thread's poll; a second poll here would race with it.
        while process.returncode is None and not self.server.ready():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"not ready within {READY_WITHIN:.0f} s; see {self._place.log(self.server.name)}"
                )
            time.sleep(TICK)
        if process.returncode is None and not self._set_up:
            self.server.setup()
            self._set_up = True

    def facts(self) -> dict[str, Any]:
        """Return what stack.json and `status` tell of this server."""
        return {
            "pid": self.identity.pid if self.identity else None,
            "started": self.identity.started if self.identity else None,
            "port": self.server.port,
            "log": str(self._place.log(self.server.name)),
            "state": self.state,
            "error": self.error,
            **self.server.extra,
        }

    def end(self) -> None:
        """End the server."""
        if self._process is not None and self.identity is not None:
            signal_number = signal.SIGKILL if self.state == "starting" else self.server.stop_signal
            end(self.identity, signal_number, 8.0)
            self._process.wait()


class Supervisor:
    """Watches all servers of one stack until it is told to stop."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stopping = False
        self._written: dict[str, Any] = {}
        self._described = False

    def run(self) -> None:
        """Start everything and keep it running; returns after SIGTERM or SIGINT, with all servers ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        with ThreadPoolExecutor(32) as pool:
            signing = pool.submit(gnupg.signing_fingerprint, self._place)
            watched = [Watched(self._place, server, pool) for server in all_servers(self._place)]
            while not self._stopping:
                for each in watched:
                    each.step()
                self._publish(watched, signing)
                time.sleep(QUIET_TICK if self._described else TICK)
            list(pool.map(Watched.end, watched))
        gnupg.end_agent(self._place)
        seaweed.remove_sockets(self._place)
        for name in ("stack.json", "state.json"):
            (self._place.root / name).unlink(missing_ok=True)

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _publish(self, watched: list[Watched], signing: "Future[str]") -> None:
        facts = {each.server.name: each.facts() for each in watched}
        if not self._described and signing.done():
            signing.result()
            self._described = all(each.state == "ready" for each in watched)
        state = {"described": self._described, "servers": facts}
        if state == self._written:
            return
        if self._described:
            write_private(self._place.root / "stack.json", describe(self._place, facts))
        write_private(self._place.root / "state.json", state)
        self._written = state
