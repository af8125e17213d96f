"""Fence and flip on two real clusters that replicate both ways: limits, pause, crashes, old orders."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from lifecycle.watchdog import flip
from lifecycle.watchdog.flip import Limits, NotDrained, Superseded
from lifecycle.watchdog.lines import Line, LockBusy
from tests.lifecycle.watchdog.pair import BLUE, GREEN, TENANT, Pair, Writers


class Crash(Exception):
    """The process died here."""


class Mortal(Line):
    """Dies before or after its n-th statement, like a killed process: the server rolls back what was open."""

    lives: list[int]  # shared by both sides: how many statements are left
    before: bool

    def __call__(self, statement: str, parameters: Sequence[Any] = (), *, seconds: float = 1.0) -> list[Any]:
        self.lives[0] -= 1
        if self.lives[0] == 0 and self.before:
            self.close()
            raise Crash
        rows = super().__call__(statement, parameters, seconds=seconds)
        if self.lives[0] == 0:
            self.close()
            raise Crash
        return rows


def _mortal(pair: Pair, region: str, lives: list[int], before: bool) -> Mortal:
    line = Mortal(pair.dsn[region])
    line.lives, line.before = lives, before
    return line


def test_an_old_epoch_changes_nothing(pair: Pair) -> None:
    pair.route(BLUE, 20)
    with pytest.raises(Superseded):
        flip.run(pair.change(GREEN, 19))
    assert pair.owners() == [BLUE]


def test_an_unknown_tenant_changes_nothing(pair: Pair) -> None:
    with pytest.raises(Superseded):
        flip.run(pair.change(GREEN, 9, tenant="nobody"))


def test_a_flip_forth_is_not_finished_while_the_stream_stands(pair: Pair) -> None:
    pair.route(BLUE, 30)
    pair.ask(GREEN, f"ALTER SUBSCRIPTION {pair.stream(GREEN)} DISABLE")
    try:
        with pytest.raises(NotDrained):
            flip.run(pair.change(GREEN, 31, limits=Limits(drain=0.3)))
        assert pair.owners() == [], "an owner before everything arrived"
        back = flip.run(pair.change(BLUE, 32))
        assert (back.owner, back.drained) == (BLUE, True)
        assert pair.owners() == [BLUE]
    finally:
        pair.ask(GREEN, f"ALTER SUBSCRIPTION {pair.stream(GREEN)} ENABLE")


def test_the_fence_keeps_its_limit_against_16_writers_and_one_of_5_seconds(pair: Pair) -> None:
    pair.route(BLUE, 40)
    limits = Limits(writer=1.0, fence=3.0)
    with closing(psycopg2.connect(pair.dsn[BLUE])) as long, Writers(pair, 16, work_s=0.02):
        with long.cursor() as cursor:
            cursor.execute("SELECT lifecycle.begin_write(%s)", [TENANT])
        time.sleep(0.3)
        began = time.monotonic()
        fenced = flip.fence(pair.change(GREEN, 41, limits=limits))
        spent = time.monotonic() - began
        assert spent < 1.5, f"the fence took {spent:.2f} s"
        assert fenced.ended_writers == 1
        assert not pair.accepts(BLUE)
        with pytest.raises(psycopg2.OperationalError):
            long.commit()


def test_a_fence_that_is_not_had_says_so_and_changes_nothing(pair: Pair) -> None:
    pair.route(BLUE, 50)
    with closing(psycopg2.connect(pair.dsn[BLUE])) as long, long.cursor() as cursor:
        cursor.execute("SELECT lifecycle.begin_write(%s)", [TENANT])
        with pytest.raises(LockBusy):
            flip.fence(pair.change(GREEN, 51, limits=Limits(writer=9.0, fence=0.3)))
        long.rollback()
    assert pair.owners() == [BLUE]


def test_forth_and_back_at_300_writes_a_second_pause_less_than_100_ms_and_lose_nothing(pair: Pair) -> None:
    pair.route(BLUE, 60)
    with Writers(pair, 8, rate=300) as writers:
        time.sleep(0.7)
        began = time.monotonic()
        forth = flip.run(pair.change(GREEN, 61))
        time.sleep(0.7)
        back = flip.run(pair.change(BLUE, 62))
        time.sleep(0.7)
    assert forth.drained and back.drained and not back.taken_over
    assert max(forth.pause_ms, back.pause_ms) < 100
    assert writers.pause(began) < 0.1, f"{writers.pause(began) * 1000:.0f} ms without an acknowledged write"
    on_green = [at for _, region, at in writers.acknowledged if region == GREEN]
    on_blue = [at for _, region, at in writers.acknowledged if region == BLUE]
    assert len(on_green) > 100 and not [at for at in on_blue if min(on_green) < at < max(on_green)]
    assert {note for note, _, _ in writers.acknowledged} <= pair.notes(BLUE)


def test_versions_of_the_new_owner_are_newer(pair: Pair) -> None:
    pair.route(BLUE, 70)
    pair.ask(BLUE, "SELECT setval('lifecycle.change_version', 5000000)")
    flip.run(pair.change(GREEN, 71))
    assert pair.ask(GREEN, "SELECT nextval('lifecycle.change_version')")[0][0] > 5_000_000


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("to", [GREEN, BLUE])
def test_killed_at_every_statement_there_are_never_two_owners_and_the_next_run_finishes(
    pair: Pair, to: str, before: bool
) -> None:
    old = BLUE if to == GREEN else GREEN
    epoch = 1000
    for statement in range(1, 40):
        epoch += 10
        pair.route(old, epoch)
        lives = [statement]
        dying = pair.change(
            to,
            epoch + 1,
            old=pair.side(old, _mortal(pair, old, lives, before)),
            new=pair.side(to, _mortal(pair, to, lives, before)),
        )
        try:
            flip.run(dying)
        except Crash:
            assert len(pair.owners()) <= 1
            if statement % 2:
                flip.run(pair.change(to, epoch + 1))
                assert pair.owners() == [to]
            else:
                flip.run(pair.change(old, epoch + 2, lossy=True))
                assert pair.owners() == [old]
        else:
            assert statement > 8, "the flip has fewer statements than thought"
            return
    raise AssertionError("the flip never finished")


def test_two_flips_of_the_same_order_at_once_are_one(pair: Pair) -> None:
    pair.route(BLUE, 5000)
    done: list[str] = []
    threads = [
        threading.Thread(target=lambda: done.append(flip.run(pair.change(GREEN, 5001)).owner))
        for _ in range(2)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert GREEN in done
    assert pair.owners() == [GREEN]
