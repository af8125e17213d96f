"""What the judging side announces, always on commit. Receivers get our own ids, never personal data."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

request_scheduled = Signal()  # request_id
request_cancelled = Signal()  # request_id
state_changed = Signal()  # request_id, old, new
hold_placed = Signal()  # hold_id
hold_lifted = Signal()  # hold_id
hold_blocked = Signal()  # hold_ids, case_id

_log = logging.getLogger(__name__)


def announce(signal: Signal, **facts: Any) -> None:
    """Sends `signal` once the surrounding transaction commits. A receiver that fails is logged and never undoes it:
    every signal only hastens what the sweeper does anyway."""
    transaction.on_commit(partial(_send, signal, facts))


def _send(signal: Signal, facts: dict[str, Any]) -> None:
    for receiver, answer in signal.send_robust(sender=None, **facts):
        if isinstance(answer, Exception):
            _log.error(
                "%s failed with %s; the sweeper will do it.",
                getattr(receiver, "__qualname__", receiver),
                type(answer).__name__,
            )
