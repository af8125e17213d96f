"""Leases: who works a step now. Extended by token only; times are the database's, so that clocks may differ."""

from __future__ import annotations

import os
import threading
import uuid
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from lifecycle.models import Step

LEASE = timedelta(seconds=60)
BEAT_EVERY = 3.0
STALE = timedelta(seconds=15)  # five beats missed: the process is gone or stopped
HARD_STOP = 85.0  # seconds after which a slice that hangs is kept alive no more

_TAG_BYTES = 8
_tag = os.urandom(_TAG_BYTES)


class LeaseLost(Exception):
    """Another worker has the step. Write nothing more."""


def wear(tag: bytes) -> None:
    """Gives this process its tag, the first 8 bytes of every token it makes."""
    global _tag
    _tag = tag


def new_tag() -> bytes:
    """A tag for a worker that is about to be started."""
    return os.urandom(_TAG_BYTES)


def new_token() -> uuid.UUID:
    """A token that nobody else has, and that names the process."""
    return uuid.UUID(bytes=_tag + os.urandom(16 - _TAG_BYTES))


def held_by(tag: bytes) -> QuerySet[Step]:
    """Steps that the process with this tag holds."""
    low, high = (uuid.UUID(bytes=tag + filler * (16 - _TAG_BYTES)) for filler in (b"\x00", b"\xff"))
    return Step.objects.filter(lease_token__gte=low, lease_token__lte=high)


def live() -> Q:
    """Steps that somebody works on now, as far as leases say."""
    return Q(lease_token__isnull=False, lease_until__gte=Now())


def dead() -> Q:
    """Steps whose worker is gone: the lease lapsed, or no beat came for `STALE`."""
    return Q(lease_token__isnull=False) & (Q(lease_until__lt=Now()) | Q(heartbeat_at__lt=Now() - STALE))


class Lease:
    """The lease of one slice. Use as a context manager: a thread extends it while one long call is under way."""

    def __init__(self, step_id: int, token: uuid.UUID) -> None:
        self.step_id, self.token = step_id, token
        self.lost = False
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None

    def rows(self) -> QuerySet[Step]:
        """The step, as long as this lease holds it: the fence of every write."""
        return Step.objects.filter(pk=self.step_id, lease_token=self.token)

    def extend(self, **fields: Any) -> None:
        """Extends by token and writes `fields` of the step. Raises LeaseLost."""
        if not self.rows().update(lease_until=Now() + LEASE, heartbeat_at=Now(), **fields):
            self.lost = True
            raise LeaseLost

    def __enter__(self) -> Lease:
        # A daemon: it never outlives the process, and a stopped process stops its beats with it.
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._keeper:
            self._keeper.join(timeout=5)

    def _keep(self) -> None:
        beats = 0
        try:
            while not self._ended.wait(BEAT_EVERY):
                beats += 1
                if beats * BEAT_EVERY > HARD_STOP:
                    return
                try:
                    self.extend()
                except DatabaseError:
                    connection.close()  # the next beat opens a new one
        except LeaseLost:
            return
        finally:
            connection.close()
