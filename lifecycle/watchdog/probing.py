"""Known questions with known answers, asked of each region's application itself, and of the load balancer.

Each region of a move is asked in turn by its own task: health, a golden read, a golden write that is read back. A failed
round is repeated at once, so that two in a row take little more than one timeout.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from lifecycle.health.gates import Probe

TIMEOUT_S = 1.0
_AGAIN_S = 0.1
_KEPT = 16
_FEW, _AT_ONCE, _SLOW_S = 20, 3, 0.4  # so many targets may have so many rounds under way, begun so far apart


@dataclass(frozen=True, slots=True)
class Target:
    """One region of one move: base address of the application, and the tenant. `touches`: its rounds also ask the
    load balancer. `writes`: with a golden write. Not where the other region owns the writes and alone would answer it."""

    migration: str
    region: str
    tenant: str
    address: str = field(repr=False)
    touches: bool = False
    writes: bool = True


@dataclass(slots=True)
class _Record:
    failures: int = 0
    wrong: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    ended: float = field(default_factory=time.monotonic)
    due: float = 0.0
    under_way: list[float] = field(default_factory=list)
    why: str = ""
    answer: str = ""
    rounds: int = 0


class Prober:
    """Asks all targets about every `period` seconds, a failing one more often. Safe in threads."""

    def __init__(self, expected: Callable[[str], str], threads: int = 24) -> None:
        """`expected`: the known answer of a migration's question, empty while nobody knows it."""
        self._expected = expected
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="probe")
        self._lock = threading.Lock()
        self._records: dict[tuple[str, str], _Record] = {}

    def tend(self, targets: list[Target], edge: str) -> None:
        """Starts the rounds that are due. `edge`: address of the load balancer."""
        period = max(
            1.0, len(targets) / 50
        )  # two cores carry about 100 questions a second beside everything else
        now = time.monotonic()
        with self._lock:
            for key in self._records.keys() - {(each.migration, each.region) for each in targets}:
                del self._records[key]
            few = len(targets) <= _FEW
            for number, target in enumerate(targets):
                key = (target.migration, target.region)
                if key not in self._records:
                    # After a restart all are new: their rounds are spread, since a hundred at once would time out.
                    later = 0.0 if few else period * number / len(targets)
                    self._records[key] = _Record(due=now + later)
                record = self._records[key]
                if self._is_due(record, now, few=few):
                    record.under_way.append(now)
                    self._pool.submit(self._round, target, record, now, period, edge)

    @staticmethod
    def _is_due(record: _Record, now: float, *, few: bool) -> bool:
        """Whether a round begins now. One that is not answered soon doesn't hold up the next: that would be its verdict."""
        if not record.under_way:
            return record.due <= now
        return few and len(record.under_way) < _AT_ONCE and now - record.under_way[-1] >= _SLOW_S

    def probe(self, migration: str, region: str) -> Probe:
        """What the last rounds said."""
        with self._lock:
            record = self._records.get((migration, region))
            if record is None:
                return Probe()
            return Probe(
                failures=record.failures,
                wrong=record.wrong,
                latencies=list(record.latencies),
                age_s=time.monotonic() - record.ended,
                why=record.why,
            )

    def answer(self, migration: str, region: str) -> str:
        """The last golden answer, empty if there was none."""
        with self._lock:
            record = self._records.get((migration, region))
            return record.answer if record else ""

    def close(self) -> None:
        """Starts nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _round(self, target: Target, record: _Record, started: float, period: float, edge: str) -> None:
        began = time.monotonic()
        try:
            spent, answer = _ask(target, record.rounds)
            why = ""
        except (OSError, http.client.HTTPException, ValueError) as failure:
            spent, answer, why = 0.0, "", _sentence(target, failure)
        expected = self._expected(target.migration)
        with self._lock:
            record.under_way.remove(started)
            record.ended, record.rounds = time.monotonic(), record.rounds + 1
            record.why = why
            bad = bool(why)
            record.failures = record.failures + 1 if bad else 0
            if not bad:
                record.answer = answer
                record.latencies.append(spent * 1000)
                differs = bool(expected) and answer != expected
                record.wrong = record.wrong + 1 if differs else 0
                bad = differs
            again = bad and record.failures + record.wrong < 4
            record.due = time.monotonic() + _AGAIN_S if again else began + period
        if edge and target.touches:
            _touch(edge, target.tenant)


def _ask(target: Target, turn: int) -> tuple[float, str]:
    """Seconds of the golden read, and its answer. Raises OSError, HTTPException, ValueError with a sentence."""
    parts = urlsplit(target.address)
    line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        if turn % 4 == 0:
            _expect(line, "GET", "/healthz", target.tenant)
        began = time.monotonic()
        golden = f"/_golden?tenant={quote(target.tenant)}"
        text = _expect(line, "GET", golden, target.tenant)
        spent = time.monotonic() - began
        if target.writes and turn % 2 == 0:
            _expect(line, "POST", golden, target.tenant)
        return spent, str(json.loads(text)["answer"])
    except KeyError:
        raise ValueError("gave no answer") from None
    finally:
        line.close()


def _expect(line: http.client.HTTPConnection, method: str, path: str, tenant: str) -> bytes:
    headers = {"x-tenant": tenant, "x-user": "watchdog"}
    line.request(method, path, b"" if method == "POST" else None, headers)
    answer = line.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise ValueError(f"answered {answer.status} to {method} {path.partition('?')[0]}")
    return text


def _touch(edge: str, tenant: str) -> None:
    """One request through the load balancer: whoever hears nothing of it knows that its log is silent, not the tenant."""
    parts = urlsplit(edge)
    line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        _expect(line, "GET", "/healthz", tenant)
    except (OSError, http.client.HTTPException, ValueError):
        return  # its log line tells, or its absence
    finally:
        line.close()


def _sentence(target: Target, failure: Exception) -> str:
    what = str(failure) if isinstance(failure, ValueError) else f"does not answer ({type(failure).__name__})"
    return f"{target.region} {what}."
