"""What each slot costs: every one decodes the whole log of its server. The numbers of docs/decisions/12."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from demo.stack import control
from lifecycle.systems.postgresql.streams import tables
from lifecycle.systems.postgresql.streams.flow import Flow
from lifecycle.systems.postgresql.streams.mover import PostgresqlMover
from tests.conftest import RUN_DIR
from tests.lifecycle.systems.postgresql.streams.pair import EAST, RESIDENT, Pair
from tests.lifecycle.trials.moves.fleet import spent

MOST, BURST, SECONDS = 50, 20_000, 3.0
_SENDERS = f"postgres-{EAST} walsender"
_BURST = """
INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256)
SELECT %s, 'ballast-' || n, 'nobody', repeat('x', 300), '', '' FROM generate_series(1, %s) n"""


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_the_price_of_a_slot(ready: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    mover = ready.mover()
    moved = tables.read(mover.source, ready.datamap)
    flows: list[Flow] = []
    try:
        for number in (0, 10, 25, MOST):
            while len(flows) < number:
                flow = Flow(
                    f"mv_{ready.id}n{len(flows)}_fwd", f"nobody{len(flows)}", mover.source, mover.target
                )
                flow.publish(moved)
                flow.keep()
                flow.subscribe(copy=False)
                flows.append(flow)
            _say(capsys, f"{number} slots", _measured(ready, mover))
        for flow in flows:
            flow.drop_published(flow.drop_following())
        for flow in flows:
            flow.publish(moved)
        _share(ready, mover, flows)
        _say(capsys, f"1 slot, {MOST} tenants", _measured(ready, mover))
    finally:
        for flow in flows:
            flow.drop()
        mover.close()


def _share(ready: Pair, mover: PostgresqlMover, flows: list[Flow]) -> None:
    """One subscription that follows the publications of all."""
    shared = Flow(f"mv_{ready.id}shared_fwd", "", mover.source, mover.target)
    shared.keep()
    shared.target.rows(
        f"CREATE SUBSCRIPTION {shared.name} CONNECTION '{mover.source.dsn}' PUBLICATION "
        f"{', '.join(each.name for each in flows)} WITH (create_slot = false, slot_name = '{shared.name}', "
        "origin = none, copy_data = false, streaming = 'off')"
    )
    flows.append(shared)


def _measured(ready: Pair, mover: PostgresqlMover) -> dict[str, Any]:
    """A resident's small transactions, then a burst of its rows, until every slot has read it."""
    _caught_up(mover)
    before = _used()
    small, took = 0, time.monotonic()
    with closing(psycopg2.connect(ready.east.dsn)) as line, line.cursor() as cursor:
        while time.monotonic() - took < SECONDS:
            cursor.execute("UPDATE users SET full_name = 'x' WHERE tenant_id = %s", ["117"])
            line.commit()
            small += 1
    _caught_up(mover)
    middle, log, began = _used(), _log(mover), time.monotonic()
    ready.east.run(_BURST, [RESIDENT, BURST])
    wrote, size = time.monotonic() - began, _log(mover) - log
    _caught_up(mover)
    caught, used = time.monotonic() - began, _used() - middle
    ready.east.run("DELETE FROM documents WHERE tenant_id = %s AND id LIKE 'ballast-%%'", [RESIDENT])
    return {
        "commits": small / SECONDS,
        "decoding": (middle - before) / small * 1e6,
        "megabytes": size / 1e6,
        "wrote": wrote,
        "caught": caught,
        "used": used,
    }


def _say(capsys: pytest.CaptureFixture[str], what: str, told: dict[str, Any]) -> None:
    with capsys.disabled():
        print(
            f"{what:20}: {told['commits']:5.0f} commits/s of one client, {told['decoding']:5.0f} us of decoding each; burst of "
            f"{told['megabytes']:.1f} MB written in {told['wrote']:.1f} s, read by all after {told['caught']:.1f} s and "
            f"{told['used']:.1f} s of processor",
            flush=True,
        )


def _caught_up(mover: PostgresqlMover) -> None:
    mark = mover.forward.watermark()
    ends = time.monotonic() + 120
    while mover.source.one(
        "SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND confirmed_flush_lsn < %s::pg_lsn",
        [mark],
    ):
        assert time.monotonic() < ends, "the followers do not catch up"
        time.sleep(0.05)


def _used() -> float:
    named = {each["pid"]: each["name"] for each in control.status(RUN_DIR)}
    return spent(named).get(_SENDERS, 0.0)


def _log(mover: PostgresqlMover) -> int:
    return int(mover.source.one("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))
