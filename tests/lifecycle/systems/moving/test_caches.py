"""Redis is warmed by asking green again what was asked last; nothing of blue's keys is copied."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
import redis

from lifecycle.datamap.model import DataMap, Key, Keys
from lifecycle.systems.base import Permanent
from lifecycle.systems.movable import Move, Side
from lifecycle.systems.redis.warming import RedisWarmer
from tests.lifecycle.systems.moving.world import GREEN, World, whole

MAP = DataMap(1, "0", keys=Keys(families=(Key("session:{tenant}:{user}"), Key("query_cache:{tenant}:{*}"))))


class _Service(BaseHTTPRequestHandler):
    """A service that remembers what it was asked, and fails one question."""

    asked: ClassVar[list[tuple[str, str, str, str]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        heads = (self.headers["x-tenant"], self.headers["x-user"], self.headers["x-warm"])
        self.asked.append((*heads, body["question"]))
        self.send_response(500 if body["question"] == "bad" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def service() -> Iterator[tuple[str, list[tuple[str, str, str, str]]]]:
    class Handler(_Service):
        asked: ClassVar[list[tuple[str, str, str, str]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Handler.asked
    server.shutdown()
    server.server_close()


def _move(world: World, **more: str) -> Move:
    def side(region: Any, **extra: str) -> Side:
        return Side(region.name, {"url": region.place["redis"], "ledger_dsn": region.dsn, **extra})

    return Move(world.move_id, world.tenant, side(world.blue), side(world.green, **more))


def test_without_a_service_nothing_is_warmed_and_it_is_said(world: World) -> None:
    warmer = RedisWarmer(_move(world), MAP)
    assert any("not warmed" in each.sentence for each in warmer.plan())
    assert not any(each.refuses for each in warmer.plan())
    progress = whole(warmer.copy)
    assert (progress.done, "not warmed" in progress.note) == (0, True)


def test_a_side_that_owns_the_tenant_keeps_its_keys(world: World) -> None:
    name = f"session:{world.tenant}:u"
    with redis.Redis.from_url(world.green.place["redis"]) as keys:
        keys.set(name, "{}")
        world.owner(GREEN)
        warmer = RedisWarmer(_move(world), MAP)
        with pytest.raises(Permanent, match="us-west-2 owns"):
            warmer.clean(warmer.move.target)
        assert keys.get(name) == b"{}"
        keys.delete(name)


def test_the_newest_questions_are_asked_again_of_green(world: World, service: tuple[str, list[Any]]) -> None:
    url, asked = service
    for question in ("first", "second", "bad", "second"):
        world.green.sql(
            "INSERT INTO queries (tenant_id, user_id, body) VALUES (%s, 'u', %s)", world.tenant, question
        )
    warmer = RedisWarmer(_move(world, app=url, questions="queries.id.user_id.body"), MAP)
    progress = whole(warmer.copy)
    world.green.sql("DELETE FROM queries WHERE tenant_id = %s", world.tenant)
    assert sorted(asked) == [(world.tenant, "u", "1", each) for each in ("bad", "first", "second")]
    assert (progress.done, progress.total) == (2, 3)
    assert "1 questions were not answered" in progress.note


def test_the_side_given_up_is_emptied_and_a_neighbour_is_not(world: World) -> None:
    mine, other = f"query_cache:{world.tenant}:x", f"query_cache:{world.tenant}0:x"
    with redis.Redis.from_url(world.blue.place["redis"]) as keys:
        keys.mset({mine: "{}", other: "{}"})
        world.owner(GREEN)
        warmer = RedisWarmer(_move(world), MAP)
        warmer.clean(warmer.move.source)
        assert (keys.get(mine), keys.get(other)) == (None, b"{}")
        keys.delete(other)
