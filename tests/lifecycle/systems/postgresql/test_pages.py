"""An inventory of several pages, the next read ahead: every row once, also where another eraser goes on in the middle."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest

from lifecycle.systems.base import Transient
from lifecycle.systems.postgresql.discovery import PAGE
from lifecycle.systems.postgresql.eraser import PostgresqlEraser
from tests.lifecycle.systems.postgresql.world import World, fill, known

MINE = 2 * PAGE + 300


@pytest.fixture
def many(bare: World) -> World:
    fill(bare, ("1",), ("u-1", "u-12"))
    for tenant, number in (("1", MINE), ("17", 50)):
        bare.run(
            "INSERT INTO queries (tenant_id, user_id, body) SELECT %s, 'paged', 'q' || n FROM generate_series(1, %s) n",
            [tenant, number],
        )
    return bare


def _page(world: World, eraser: PostgresqlEraser, cursor: Any) -> tuple[list[str], Any]:
    page = eraser.discover(known(world, "1"), cursor)
    return [item.key for item in page.entries if item.kind == "queries"], page.cursor


def _keys(world: World, erasers: list[PostgresqlEraser], cursor: Any = None) -> list[str]:
    """What follows `cursor`, each page by the next of the erasers in turn."""
    keys: list[str] = []
    for eraser in cycle(erasers):
        found, cursor = _page(world, eraser, cursor)
        keys += found
        if cursor is None:
            return keys
    raise AssertionError("no eraser was given")


def test_a_session_that_ends_while_it_reads_ahead_loses_nothing_after_the_cursor(many: World) -> None:
    eraser = many.eraser()
    seen, cursor = _page(many, eraser, None)
    many.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'lifecycle-eraser' AND datname = current_database()"
    )
    with pytest.raises(Transient):
        while cursor is not None:  # what had been read before the end may still be given
            found, cursor = _page(many, eraser, cursor)
            seen += found
    eraser.close()
    seen += _keys(many, [many.eraser()], cursor)
    assert seen == _keys(many, [many.eraser()])


def test_pages_give_every_row_once_by_one_eraser_and_by_two_in_turn(many: World) -> None:
    alone = _keys(many, [many.eraser()])
    assert len(alone) == len(set(alone)) >= MINE
    assert _keys(many, [many.eraser(), many.eraser()]) == alone
