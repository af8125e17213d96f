"""What is looked after by itself: outboxes that nobody reads any more."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import Any

import psycopg2
from django.utils import timezone

from demo.platform.cast import EAST, WEST
from lifecycle.migration import keeping
from tests.lifecycle.migration.stage import Stage

_OLD = """
INSERT INTO lifecycle.change (tenant_id, store, key, op, version, at)
VALUES (%s, 's3', 'k', 'put', 1, now() - interval '9 days')
"""
_MOVING = "INSERT INTO lifecycle.route (tenant_id, owner, epoch, moving) VALUES (%s, %s, 1, true)"


def test_old_outbox_rows_go_once_an_hour_but_none_of_a_tenant_that_moves(stage: Stage) -> None:
    moves, stays = (f"{name}-{secrets.token_hex(4)}" for name in ("moves", "stays"))
    for region in (EAST, WEST):
        _do(stage, region, _MOVING, moves, EAST)
        for tenant in (moves, stays):
            _do(stage, region, _OLD, tenant)
    now = timezone.now()
    assert keeping.prune_due(now.replace(minute=1)) == 0
    assert _left(stage, stays) == 2
    assert keeping.prune_due(now.replace(minute=0)) >= 2
    assert (_left(stage, stays), _left(stage, moves)) == (0, 2)
    for region in (EAST, WEST):
        _do(stage, region, "DELETE FROM lifecycle.change WHERE tenant_id = %s", moves)
        _do(stage, region, "DELETE FROM lifecycle.route WHERE tenant_id = %s", moves)


def _do(stage: Stage, region: str, statement: str, *values: Any) -> None:
    with closing(psycopg2.connect(stage.stack["regions"][region]["postgres_mover"])) as line:
        line.autocommit = True
        with line.cursor() as cursor:
            cursor.execute(statement, values)


def _left(stage: Stage, tenant: str) -> int:
    return sum(
        stage.rows(region, "SELECT count(*) FROM lifecycle.change WHERE tenant_id = %s", tenant)[0][0]
        for region in (EAST, WEST)
    )
