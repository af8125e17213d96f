"""Two regions' databases for one tenant, replicated both ways, and the application's side of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from lifecycle.participation import Participant
from tests.lifecycle.watchdog.pair import BLUE, GREEN, Pair, made


@pytest.fixture(scope="module")
def pair(stack: dict[str, Any]) -> Iterator[Pair]:
    with made(stack) as each:
        yield each


@pytest.fixture
def blue(pair: Pair) -> Iterator[Participant]:
    participant = Participant(BLUE, lambda: psycopg2.connect(pair.dsn[BLUE]))
    yield participant
    participant.close()


@pytest.fixture
def green(pair: Pair) -> Iterator[Participant]:
    participant = Participant(GREEN, lambda: psycopg2.connect(pair.dsn[GREEN]))
    yield participant
    participant.close()
