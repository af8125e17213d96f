"""A tenant of two regions for each test, and an applier that serves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.platform.own_rows import apply_schema
from lifecycle.applier.moves import Control, LiveMove
from lifecycle.applier.service import Applier
from tests.lifecycle.systems.moving.world import BLUE, GREEN, Region, World

NOBODY = "host=127.0.0.1 port=1 dbname=none connect_timeout=1"


@pytest.fixture
def world(stack: dict[str, Any]) -> Iterator[World]:
    made = World(stack, apply_schema)
    yield made
    made.close()


def places(region: Region) -> dict[str, dict[str, str]]:
    """An environment's places in clear: what the tests' `resolve` gives back as it is."""
    stores = {name: {k: str(v) for k, v in region.place[name].items()} for name in ("s3", "pinecone")}
    return {"postgresql": {"mover_dsn": region.dsn}, **stores}


def live(world: World) -> LiveMove:
    """The world's move as the control database would tell it."""
    return LiveMove(world.move_id, world.tenant, BLUE, GREEN, places(world.blue), places(world.green))


@contextmanager
def applying(world: World, folder: Path, move: LiveMove | None = None) -> Iterator[Applier]:
    """An applier at work, with a control database that does not answer and moves that it remembers."""
    Control(NOBODY, folder / "moves.json").remember([move or live(world)])
    applier = Applier(NOBODY, lambda reference: reference, folder / "moves.json")
    thread = threading.Thread(target=applier.run)
    thread.start()
    try:
        yield applier
    finally:
        applier.stop()
        thread.join(30)
    assert not thread.is_alive()


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Polls until `true()`; fails after `seconds`."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.05)
