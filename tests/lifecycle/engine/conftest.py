"""A toy workflow on the real database, with real commits: claims are decided between connections."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from lifecycle.models import Heartbeat, Run
from tests.lifecycle.engine.toy import Toy


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Access with commits of its own. What a test made is removed afterwards, but for audit events: those stay."""
    from django_q.models import OrmQ, Schedule, Task

    def clear() -> None:
        Run.objects.all().delete()
        for model in (OrmQ, Schedule, Task, Heartbeat):
            model.objects.all().delete()

    with django_db_blocker.unblock():
        clear()
        yield
        clear()
        connections.close_all()


@pytest.fixture
def toy(committed: None, settings: Any) -> Iterator[Toy]:
    """The toy workflow, its backoff cut to nothing. What a step asserts counts, though the engine catches it."""
    settings.STEP_BACKOFF = [0.0, 0.0, 0.0]
    made = Toy()
    yield made
    assert made.broken == []
