"""Workers take what has been due longest: with more work than they manage, nothing waits for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from lifecycle.engine.queue import InTurn


@pytest.mark.django_db
def test_what_is_due_longest_comes_first_and_what_is_not_due_never() -> None:
    now = timezone.now()
    for payload, seconds in (("later", -600), ("new", 1), ("old", 3600), ("middle", 60)):
        OrmQ.objects.create(key="turn", payload=payload, lock=now - timedelta(seconds=seconds))
    OrmQ.objects.create(key="other", payload="another queue's", lock=now - timedelta(days=1))
    broker = InTurn("turn")
    taken = [payload for _ in range(3) for _, payload in broker.dequeue()]
    assert taken == ["old", "middle", "new"]
    assert broker.dequeue() is None
