"""Holds as a fence. Every destructive batch opens here; `place_hold` waits here until no batch in its scope is in flight.

Why it is safe even where a lock session vanishes or a stopped worker wakes: a batch commits its row *before* it reads
holds, and a hold is committed *before* open rows are read. So either the batch sees the hold, or the hold sees the row
and waits until it is closed or past its deadline, after which neither side sends or carries out anything. The advisory
lock only makes the common case quick, and new batches queue behind a hold.

Lock order, everywhere: fence, then rows, then the audit head. All on one direct connection per thread, never the ORM's.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import sha256
from typing import Any

import psycopg2
from django.conf import settings
from django.db import connection, transaction
from psycopg2.extensions import connection as Connection

from compliance import audit, signals
from compliance.actors import SYSTEM
from compliance.models import LegalHold

LONGEST = 5.0  # seconds that a batch may be open; a constraint of the table says the same
PLACE_LIMIT = 10.0  # seconds within which a hold is certain
# After the deadline of a row that nobody closed: what was sent in its last moment reaches a server that refuses it by
# its own clock, and what the server took up just before is finished, also by one that is slow.
_MARGIN = 2.0
_QUEUE = 0.6  # seconds beyond the deadlines in flight that a hold waits for the lock
_POLL = 0.02
_IDLE = 2.0  # seconds after which a kept connection is asked before it is trusted

_OPEN = """
INSERT INTO compliance_fencebatch
    (id, tenant_id, subject_pseudonym, category, system, case_id, opened_at, deadline, outcome)
SELECT %(id)s, %(tenant)s, %(subject)s, %(category)s, %(system)s, %(case)s, t, t + make_interval(secs => %(seconds)s), ''
FROM (SELECT clock_timestamp() AS t) AS now RETURNING deadline
"""
_LOCK_SHARED = "SET lock_timeout = %(wait)s; SELECT pg_advisory_lock_shared(%(key)s);"
_HOLDS = """
SELECT pg_backend_pid(), COALESCE(array_agg(id ORDER BY id), '{}') FROM compliance_legalhold
WHERE tenant_id = %(tenant)s AND state = ANY(%(blocking)s)
  AND (subject_pseudonym IN ('', %(subject)s) OR (%(subject)s = '' AND subject_pseudonym <> ALL(%(spared)s)))
  AND (category IN ('', %(category)s) OR (%(category)s = '' AND category <> ALL(%(held)s)))
"""
_CLOSE = """
UPDATE compliance_fencebatch SET closed_at = clock_timestamp(), outcome = %(outcome)s WHERE id = %(id)s AND closed_at IS NULL;
SELECT pg_advisory_unlock_shared(%(key)s) FROM pg_locks
WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND mode = 'ShareLock' AND objsubid = 1
  AND classid::bigint = (%(key)s::bigint >> 32) & 4294967295 AND objid::bigint = %(key)s::bigint & 4294967295
"""
_LEAVE = "UPDATE compliance_fencebatch SET outcome = 'error' WHERE id = %(id)s; SELECT pg_advisory_unlock_shared(%(key)s)"
_SCOPE = """
    sent.tenant_id = %(tenant)s AND sent.closed_at IS NULL
    AND (%(subject)s = '' OR sent.subject_pseudonym IN ('', %(subject)s))
    AND (%(category)s = '' OR sent.category IN ('', %(category)s))
"""
_IN_SCOPE = f"""
SELECT id, extract(epoch FROM deadline - clock_timestamp())::float FROM compliance_fencebatch AS sent
WHERE {_SCOPE} AND deadline + make_interval(secs => %(margin)s) > clock_timestamp()
"""  # noqa: S608 - constants
# A later batch of the same case that ended well has sent the same things again, and was answered.
_UNANSWERED = f"""
SELECT system, count(*) FROM compliance_fencebatch AS sent
WHERE {_SCOPE} AND NOT EXISTS (
    SELECT FROM compliance_fencebatch AS later WHERE later.case_id = sent.case_id AND later.system = sent.system
        AND later.outcome = 'done' AND later.opened_at > sent.opened_at)
GROUP BY system ORDER BY system
"""  # noqa: S608 - constants


class HoldInForce(Exception):
    """A legal hold covers the batch. `holds` are their ids."""

    def __init__(self, holds: list[str]) -> None:
        super().__init__("A legal hold covers this batch; nothing more is destroyed.")
        self.holds = holds


class PastDeadline(Exception):
    """The batch may send no more: its time is over, or the fence can't be asked."""


class FenceTimeout(Exception):
    """A batch in the hold's scope could not be waited out in time. The hold is in force; ask again."""


class OpenBatch:
    """One destructive batch in flight. Ask `check` before each remote send; give the send `remaining()` as its limit."""

    def __init__(self, facts: dict[str, Any], started: float) -> None:
        self.id: uuid.UUID = facts["id"]
        self._facts = facts
        self._ends: float = started + facts["seconds"]
        self._session = _session()
        self._pid = self._session.get_backend_pid()
        self._deadline: datetime = _one(self._session, _OPEN, {**facts, "id": str(facts["id"])})[0]

    @property
    def deadline(self) -> datetime:
        """When the batch ends, by the control database's clock."""
        return self._deadline

    def remaining(self) -> float:
        """Seconds until the deadline, at least 0. Counts while the process is stopped or the machine sleeps."""
        return max(0.0, self._ends - _clock())

    def check(self) -> None:
        """Raises PastDeadline or HoldInForce; returns where one more send may start now."""
        self._in_time()
        if settings.FENCE_ENABLED:
            self._ask(_HOLDS)
            self._in_time()

    def enter(self) -> None:
        """Takes the tenant's shared lock and reads the holds under it."""
        if settings.FENCE_ENABLED:
            self._ask(_LOCK_SHARED + _HOLDS)
        self._in_time()

    def close(self, outcome: str) -> None:
        """Closes the row: everything that was sent has been answered. On another session too, where the own was lost."""
        facts = {**self._facts, "id": str(self.id), "outcome": outcome}
        try:
            _run(self._session, _CLOSE, facts)
        except psycopg2.Error:
            with suppress(psycopg2.Error):  # then the row stays open until its deadline: slower, never wrong
                _run(_session(fresh=True), _CLOSE, facts)

    def leave(self) -> None:
        """Leaves the row open until its deadline: a server that was stopped can still carry out what was sent."""
        with suppress(psycopg2.Error):  # a lost session has lost its lock too
            _run(self._session, _LEAVE, {**self._facts, "id": str(self.id)})

    def _in_time(self) -> None:
        if self.remaining() <= 0:
            raise PastDeadline("The batch reached its deadline.")

    def _ask(self, question: str) -> None:
        try:
            pid, holds = _one(
                self._session, question, {**self._facts, "wait": int(self.remaining() * 1000) + 1}
            )
        except psycopg2.Error as failure:
            raise PastDeadline(
                f"The fence could not be asked ({type(failure).__name__}); the batch ends."
            ) from None
        if pid != self._pid:
            raise PastDeadline("The fence's session is another one than at the start; the batch ends.")
        if holds:
            raise HoldInForce(list(holds))


@contextmanager
def batch(
    *,
    tenant_id: str,
    subject_pseudonym: str,
    category: str,
    system: str,
    case_id: str,
    seconds: float | None = None,
    spared_users: Collection[str] = (),
    held_categories: Collection[str] = (),
) -> Iterator[OpenBatch]:
    """A destructive batch of at most `seconds` (settings.FENCE_SECONDS, never more than 5).

    `subject_pseudonym` is empty for a whole tenant; then `spared_users` are the pseudonyms of held users whose data the
    batch does not touch. `category` is empty for a batch of several; `held_categories` are those that it leaves out.
    Raises HoldInForce (audited, and told to legal) where any other hold covers it, and PastDeadline. A batch that ends
    with an error leaves its row open until the deadline; only a clean end closes it.
    """
    if connection.in_atomic_block:
        raise RuntimeError("A destructive batch opens outside any transaction: the fence comes before rows.")
    facts = {
        "id": uuid.uuid4(),
        "tenant": tenant_id,
        "subject": subject_pseudonym,
        "category": category,
        "system": system,
        "case": case_id,
        "seconds": min(settings.FENCE_SECONDS if seconds is None else seconds, LONGEST),
        "key": lock_key(tenant_id),
        "blocking": [str(state) for state in LegalHold.BLOCKING],
        "spared": list(spared_users),
        "held": list(held_categories),
    }
    try:
        opened = OpenBatch(facts, _clock())
    except psycopg2.Error as failure:
        raise PastDeadline(
            f"The fence could not be reached ({type(failure).__name__}); nothing was sent."
        ) from None
    try:
        opened.enter()
    except (HoldInForce, PastDeadline) as stop:
        opened.close("held" if isinstance(stop, HoldInForce) else "late")
        _report(stop, facts)
        raise
    try:
        yield opened
    except BaseException as failure:
        opened.leave()
        _report(failure, facts)
        raise
    opened.close("done")


def wait_out(hold: LegalHold) -> tuple[float, dict[str, int]]:
    """Returns once no deletion in the committed hold's scope is in flight, and none can start.

    Gives the seconds it took, and {system: batches} that were sent before and never answered: a server that was stopped
    in the middle of one may end it when it wakes, which nobody else can prevent. Raises FenceTimeout after 10 s, which
    needs a batch that breaks the fence's rules.
    """
    if not settings.FENCE_ENABLED:
        return 0.0, {}
    began = _clock()
    session = _session()
    facts = {
        "tenant": hold.tenant_id,
        "subject": hold.subject_pseudonym,
        "category": hold.category,
        "margin": _MARGIN,
    }
    in_flight = _all(session, _IN_SCOPE, facts)
    waited_for, longest = [row[0] for row in in_flight], max((row[1] for row in in_flight), default=0.0)
    _take_and_release(session, lock_key(hold.tenant_id), min(max(longest, 0.0), LONGEST) + _QUEUE)
    still = _IN_SCOPE + " AND id = ANY(%(ids)s::uuid[]) LIMIT 1"
    while waited_for and _all(session, still, {**facts, "ids": waited_for}):
        if _clock() - began > PLACE_LIMIT - 0.5:
            raise FenceTimeout(
                "A deletion was still in flight after 10 seconds. The hold is in force; look at it again."
            )
        time.sleep(_POLL)
    return _clock() - began, dict(_all(session, _UNANSWERED, facts))


def _take_and_release(session: Connection, key: int, longest: float) -> None:
    try:
        _run(
            session,
            "SET lock_timeout = %(wait)s; SELECT pg_advisory_lock(%(key)s); SELECT pg_advisory_unlock(%(key)s)",
            {"wait": int(longest * 1000), "key": key},
        )
    except psycopg2.errors.LockNotAvailable:
        return  # a stopped worker keeps its shared lock; its row's deadline decides


def tidy(keep_seconds: float = 86_400) -> int:
    """Deletes the rows of batches that ended longer ago; returns how many. For housekeeping."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM compliance_fencebatch WHERE deadline < clock_timestamp() - make_interval(secs => %s)",
            [keep_seconds],
        )
        return int(cursor.rowcount)


def lock_key(tenant_id: str) -> int:
    """The tenant's advisory lock: a signed 64-bit number."""
    return int.from_bytes(sha256(b"fence:" + tenant_id.encode()).digest()[:8], "big", signed=True)


def _report(failure: BaseException, facts: dict[str, Any]) -> None:
    if not isinstance(failure, HoldInForce):
        return
    data = {"holds": failure.holds, "system": facts["system"], "category": facts["category"]}
    with transaction.atomic():
        audit.record(
            "hold.blocked_attempt", actor=SYSTEM, tenant_id=facts["tenant"], case_id=facts["case"], data=data
        )
        signals.announce(signals.hold_blocked, hold_ids=failure.holds, case_id=facts["case"])


def _clock() -> float:
    # Unlike the monotonic clock, this one goes on while the machine sleeps.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_kept = threading.local()


def _session(*, fresh: bool = False, sure: bool = False) -> Connection:
    """This thread's direct connection in autocommit, made anew where it is lost or was another process's.

    One that was idle for a while, or where the caller must be `sure`, is asked whether it still answers.
    """
    known: Connection | None = getattr(_kept, "session", None)
    if known is not None and not fresh and _kept.pid == os.getpid() and not known.closed:
        lately = _clock() - _kept.used_at < _IDLE
        if (lately and not sure) or _answers(known):
            _kept.used_at = _clock()
            return known
    _kept.session, _kept.pid, _kept.used_at = _connect(), os.getpid(), _clock()
    session: Connection = _kept.session
    return session


def disconnect() -> None:
    """Ends this thread's direct connection, where there is one; the next batch makes another."""
    known: Connection | None = getattr(_kept, "session", None)
    if known is not None and _kept.pid == os.getpid():
        known.close()
    _kept.session = None


def _connect() -> Connection:
    options: dict[str, Any] = {
        "application_name": "lifecycle-fence",
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
    }
    if settings.DIRECT_DATABASE_URL:
        session: Connection = psycopg2.connect(settings.DIRECT_DATABASE_URL, **options)
    else:
        session = psycopg2.connect(**{**connection.get_connection_params(), **options})
    session.autocommit = True
    return session


def _answers(session: Connection) -> bool:
    try:
        _run(session, "SELECT 1", {})
    except psycopg2.Error:
        with suppress(psycopg2.Error):
            session.close()
        return False
    return True


def _run(session: Connection, statement: str, facts: dict[str, Any]) -> None:
    with session.cursor() as cursor:
        cursor.execute(statement, facts)


def _all(session: Connection, statement: str, facts: dict[str, Any]) -> list[tuple[Any, ...]]:
    with session.cursor() as cursor:
        cursor.execute(statement, facts)
        return cursor.fetchall()


def _one(session: Connection, statement: str, facts: dict[str, Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] = _all(session, statement, facts)[0]
    return row
