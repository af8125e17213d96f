"""Redis is warmed, never copied: what lies there is either made anew (caches) or must not outlive the move (sessions).

A cache copied from blue could answer with what green no longer holds, and after a way back with what blue never had;
keys therefore carry the route's epoch, and green's caches are filled by asking green's own service what users asked
last. Without the service's address nothing is warmed, and the first questions on green find cold caches.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg2
from psycopg2 import sql

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import BatchOver, Gate, Page, Permanent, Scope, Subject, Transient
from lifecycle.systems.ledger import open_ledger
from lifecycle.systems.movable import Difference, Finding, Lag, Move, Progress, Side
from lifecycle.systems.redis.eraser import RedisEraser
from lifecycle.systems.vacating import OpenBatch, refuse

MOST = 500  # newest questions that are asked again
THREADS = 4
_SECONDS = 5.0
_STEP = 40


class RedisWarmer:
    """One tenant's caches on the target. The target's place names `app` (the service's URL) and `questions`
    (`table.order_column.user_column.text_column` in the region's database) where it is to be warmed."""

    name = "redis"

    def __init__(self, move: Move, datamap: DataMap) -> None:
        self.move, self._datamap = move, datamap

    def plan(self) -> Sequence[Finding]:
        """Redis stops no move; the approver reads what users will notice."""
        found = [
            Finding(
                False,
                "Redis is not copied: sessions, rate limits and queues that live in it alone start empty on green.",
            )
        ]
        if not self._wanted():
            found.append(
                Finding(
                    False, "Green's caches are not warmed: name its service (app) and its table of questions."
                )
            )
        return found

    def size(self) -> Mapping[str, int]:
        """Nothing is copied."""
        return {"items": 0, "bytes": 0}

    def copy(self, cursor: Any, seconds: float) -> Progress:
        """Asks green the newest questions again, for at most `seconds`. A question that fails is not repeated."""
        if not self._wanted():
            return Progress(
                None, 0, 0, "questions", note="not warmed: no service or table of questions is named"
            )
        ends = time.monotonic() + seconds
        asked = self._questions()
        at, warmed = (cursor or {"at": 0, "warmed": 0}).values()
        headers = {"x-tenant": self.move.tenant, "x-warm": "1"}
        with (
            httpx.Client(base_url=self.move.target.place["app"], headers=headers, timeout=_SECONDS) as http,
            ThreadPoolExecutor(THREADS) as pool,
        ):
            while at < len(asked) and time.monotonic() < ends:
                part = asked[at : at + _STEP]
                warmed += sum(pool.map(lambda question: _ask(http, *question), part))
                at += len(part)
        cold = at - warmed
        note = f"{cold} questions were not answered" if cold else ""
        return Progress(
            {"at": at, "warmed": warmed} if at < len(asked) else None,
            warmed,
            len(asked),
            "questions",
            note=note,
        )

    def lag(self) -> Lag:
        """Nothing flows."""
        return Lag(0, 0.0)

    def compare(self, cursor: Any, seconds: float) -> Page[Difference]:
        """Nothing is to be alike."""
        return Page([])

    def repair(self, differences: Sequence[Difference]) -> int:
        """Nothing can differ."""
        return 0

    def clean(self, side: Side, gate: Gate | None = None) -> None:
        """Removes the tenant's keys and entries on a side that was given up.

        With a gate: until its batch is over (BatchOver: open the next one and call again).
        """
        move = self.move
        other = move.source if side.region == move.target.region else move.target
        ledgers = [open_ledger(each.place.get("ledger_dsn"), move.tenant) for each in (side, other)]
        eraser = RedisEraser(side.place, self._datamap)
        try:
            refuse(move, side, ledgers[0], ledgers[1], self.name)
            _empty(eraser, Scope(Subject(move.tenant)), gate)
        finally:
            eraser.close()
            for ledger in ledgers:
                if ledger is not None:
                    ledger.close()

    def close(self) -> None:
        """Nothing is open."""

    def _wanted(self) -> bool:
        return all(self.move.target.place.get(name) for name in ("app", "questions", "ledger_dsn"))

    def _questions(self) -> list[tuple[str, str]]:
        """(user, question) of the newest questions, each question once; they stay in memory."""
        place = self.move.target.place
        parts = place["questions"].split(".")
        if len(parts) != 4:
            raise Permanent(
                "The setting `questions` of Redis must be `table.order_column.user_column.text_column`."
            )
        table, order, user, text = map(sql.Identifier, parts)
        query = sql.SQL(
            "SELECT DISTINCT ON (asked) who, asked FROM (SELECT {user} AS who, {text} AS asked FROM {table} "
            "WHERE tenant_id = %s ORDER BY {order} DESC LIMIT %s) newest"
        ).format(user=user, text=text, table=table, order=order)
        try:
            connection = psycopg2.connect(place["ledger_dsn"], connect_timeout=5)
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute(query, [self.move.tenant, MOST])
                    return [(str(who), str(asked)) for who, asked in cursor.fetchall()]
            finally:
                connection.close()
        except psycopg2.OperationalError as error:
            raise Transient("Green's database did not answer; its caches are warmed later.") from error
        except psycopg2.ProgrammingError:
            raise Permanent(
                "The table of questions can't be read; check the setting `questions` of Redis."
            ) from None


def connect(move: Move, datamap: DataMap) -> RedisWarmer:
    """The warmer of a move's caches."""
    return RedisWarmer(move, datamap)


def _ask(http: httpx.Client, user: str, question: str) -> bool:
    try:
        return http.post("/search", headers={"x-user": user}, json={"question": question}).is_success
    except (httpx.HTTPError, ValueError):  # ValueError: a user id that no header can carry
        return False


def _empty(eraser: RedisEraser, scope: Scope, gate: Gate | None) -> None:
    clean = 0
    while clean < eraser.clean_passes:
        cursor: Any = None
        clean += 1
        while True:
            page = eraser.discover(scope, cursor)
            items = list(page.entries)
            while items:
                clean = 0
                batch = gate or OpenBatch()
                batch.check()
                taken = eraser.erase(scope, items[: eraser.batch], batch).taken
                if not taken:
                    raise BatchOver if gate is not None else Transient("Redis took no deletion; try again.")
                items = items[taken:]
            cursor = page.cursor
            if cursor is None:
                break
    eraser.finish(scope, gate or OpenBatch())
