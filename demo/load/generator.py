"""Open-loop load: requests start when they are due, whatever became of the ones before."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from demo.load.ledger import Entry, Ledger

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate` requests a second for `seconds`, of `users` users; `writes` is the share of new documents, `deletes` of
    deletions, the rest asks and lists."""

    url: str
    tenant: str
    rate: float
    seconds: float
    users: int = 20
    writes: float = 0.4
    deletes: float = 0.05
    threads: int = 16


@dataclass
class _Shared:
    numbers: Any = field(default_factory=itertools.count)
    lock: threading.Lock = field(default_factory=threading.Lock)
    # Documents that may be asked for or deleted: (id, user, text, mark of the write).
    known: deque[tuple[str, str, str, str]] = field(default_factory=lambda: deque(maxlen=2000))


class Generator:
    """Runs one plan into one ledger."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self._plan, self._ledger, self._shared = plan, ledger, _Shared()
        self._stop = threading.Event()

    def run(self) -> None:
        """Returns when the time is over, or soon after `stop`."""
        began = time.monotonic()
        threads = [
            threading.Thread(target=self._work, args=(began, number), daemon=True)
            for number in range(self._plan.threads)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    def stop(self) -> None:
        """Ends the run early."""
        self._stop.set()

    def _work(self, began: float, seed: int) -> None:
        chance = random.Random(seed)
        line = _Line(self._plan.url, self._plan.tenant)
        while not self._stop.is_set():
            with self._shared.lock:
                number = next(self._shared.numbers)
            due = began + number / self._plan.rate
            if due > began + self._plan.seconds:
                break
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            user = f"load-{chance.randrange(self._plan.users)}"
            self._ledger.note(self._one(line, chance, user, number))
        line.close()

    def _one(self, line: _Line, chance: random.Random, user: str, number: int) -> Entry:
        roll = chance.random()
        if roll < self._plan.writes:
            return self._put(line, user, number)
        with self._shared.lock:
            pick = chance.choice(self._shared.known) if self._shared.known else None
            if pick and roll < self._plan.writes + self._plan.deletes:
                self._shared.known.remove(pick)
        if pick is None:
            return line.ask("list", "GET", "/documents", user)[0]
        document, owner, text, mark = pick
        if roll < self._plan.writes + self._plan.deletes:
            return line.ask("delete", "DELETE", f"/documents/{document}", owner, id=document)[0]
        if roll < 0.9:
            return line.ask("search", "POST", "/search", user, {"question": text})[0]
        return line.ask("list", "GET", "/documents", owner, mark=mark)[0]

    def _put(self, line: _Line, user: str, number: int) -> Entry:
        text = f"Note {number} of {user}: {random.getrandbits(64):016x}. " + "Figures of the quarter. " * 20
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        body = {"title": f"Note {number}", "text": text}
        entry, mark = line.ask("put", "POST", "/documents", user, body, sha256=sha256)
        if entry.acknowledged:
            with self._shared.lock:
                self._shared.known.append((entry.id, user, text, mark))
        return entry


class _Line:
    """One keep-alive connection of one user's browser. A request is never sent twice."""

    def __init__(self, url: str, tenant: str) -> None:
        parts = urlsplit(url)
        self._tenant = tenant
        self._line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)

    def ask(
        self,
        kind: str,
        method: str,
        path: str,
        user: str,
        body: Any = None,
        *,
        mark: str = "",
        id: str = "",
        sha256: str = "",
    ) -> tuple[Entry, str]:
        """The entry of one request, and the mark of the write."""
        headers = {"x-tenant": self._tenant, "x-user": user} | ({"x-last-write": mark} if mark else {})
        began = time.monotonic()
        try:
            self._line.request(method, path, json.dumps(body).encode() if body is not None else None, headers)
            answer = self._line.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._line.close()
            spent = (time.monotonic() - began) * 1000
            why = type(error).__name__
            return Entry(kind, time.time(), round(spent, 2), 0, id=id, sha256=sha256, user=user, why=why), ""
        spent = (time.monotonic() - began) * 1000
        told = json.loads(text) if answer.status in (200, 201) and kind in ("put", "delete") else {}
        # A document that somebody's retry already removed is gone, as its user wished.
        status = 200 if kind == "delete" and answer.status == 404 else answer.status
        entry = Entry(
            kind,
            time.time(),
            round(spent, 2),
            status,
            acknowledged=bool(told),
            region=answer.headers.get("x-region", ""),
            owner=str(told.get("owner", "")),
            user=user,
            why="" if status < 300 else text[:120].decode(errors="replace"),
            id=str(told["id"]) if told else id,
            sha256=sha256,
        )
        return entry, answer.headers.get("x-last-write", "")

    def close(self) -> None:
        """Closes the connection."""
        self._line.close()
