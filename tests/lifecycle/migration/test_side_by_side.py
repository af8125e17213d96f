"""Moves side by side: some copy, the rest queue; one compares before its flip, the next waits; the watchdog sees all.

Fifty of them, with real workers: tests/lifecycle/trials/moves/test_fifty.py.
"""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from django.conf import settings

from compliance.models import AuditEvent
from lifecycle.engine.advance import advance
from lifecycle.migration import actions, locks, status
from lifecycle.models import Migration, Reading, Run
from lifecycle.systems.postgresql.streams import changed
from tests.lifecycle.migration.stage import BEN, Stage, due

S = Migration.State
MOVES, COPYING, COMPARING = 3, 2, 1
_LOOKS = 6.0  # seconds; the trial of fifty asks for 2 on a machine of its own


def test_three_moves_share_two_places_to_copy_and_one_to_compare(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.MIGRATION, "copying_per_database", COPYING)
    monkeypatch.setattr(changed, "AT_ONCE", COMPARING)
    moves = [stage.started(stage.tenant()) for _ in range(MOVES)]
    queued, compared = 0, 0
    ends = time.monotonic() + 200
    while not all("second person" in status.of(each)["why"] for each in _read(moves)):
        assert time.monotonic() < ends, [(each.state, each.reason) for each in _read(moves)]
        for each in moves:
            _advance(each)
            copying = Migration.objects.filter(state=S.INITIAL_SYNC).count()
            queued = max(queued, copying and locks.waiting())
            assert copying <= COPYING
            ((noting,),) = stage.rows(
                moves[0].source_region,
                "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'mv%%chk' AND database = current_database()",
            )
            compared = max(compared, noting)
    forth = "SELECT slot_name::text FROM pg_replication_slots WHERE slot_name = ANY(%s)"
    names = [f"mv_{each.pk.replace('-', '_')}_fwd" for each in moves]
    assert stage.rows(moves[0].source_region, forth, names) == [], "a soak costs the source no slot"
    assert queued, "one had to wait for a place"
    assert compared == COMPARING
    began = AuditEvent.objects.filter(
        case_id__in=[each.pk for each in moves], data__to=S.INITIAL_SYNC
    ).order_by("seq")
    assert list(began.values_list("case_id", flat=True))[-1] == moves[-1].pk, "who came last is served last"
    for each in moves:
        actions.complete(each, actor=BEN)
        looks = Reading.objects.filter(migration=each).order_by("at").values_list("at", flat=True)
        assert max((b - a).total_seconds() for a, b in pairwise(looks)) < _LOOKS
    while any(each.state != S.COMPLETED for each in _read(moves)):
        assert time.monotonic() < ends, [(each.state, each.reason) for each in _read(moves)]
        for each in moves:
            _advance(each)
    assert [stage.left_behind(each) for each in moves] == [[]] * MOVES


def _read(moves: list[Migration]) -> list[Migration]:
    for each in moves:
        each.refresh_from_db()
    return moves


def _advance(migration: Migration) -> None:
    """One slice of each step that a worker would take up now."""
    migration.refresh_from_db()
    run = Run.objects.get(pk=migration.run_id)
    for step in due(run):
        advance(step.pk)
    time.sleep(0.1)
