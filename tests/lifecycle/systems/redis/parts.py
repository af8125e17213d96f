"""What the Redis tests share: a map of every kind of family, hostile twins, a gate, and short ways to erase and look."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lifecycle.datamap.model import DataMap, Key, Keys
from lifecycle.systems.base import BatchOver, Entry, Hit, Item, Scope, Subject, batches
from lifecycle.systems.redis.eraser import RedisEraser
from lifecycle.systems.redis.verifier import RedisVerifier

NUMBER, OTHER = 9, 10  # databases of these tests, flushed by them
TENANTS = ("1", "17", "117", "1*", "a_b", "tenant-ü", "[1]", "1?")
USERS = ("u-1", "u-12", "u-123", "u*", "al")

MAP = DataMap(
    version=1,
    digest="",
    keys=Keys(
        databases=(NUMBER,),
        families=(
            Key("session:{tenant}:{user}", category="session"),
            Key("query_cache:{tenant}:{*}", category="usage", user_in="user_id"),
            Key("online:{tenant}", type="set", category="session", member="{user}"),
            Key("everyone", type="set", category="session", member="{tenant}:{user}"),
            Key("board:{tenant}", type="zset", category="usage", member="{user}"),
            Key("profiles:{tenant}", type="hash", category="account", field="{user}"),
            Key("recent:{tenant}", type="list", category="usage", user_in="user_id"),
            Key("events:{tenant}", type="stream", category="usage", field="user_id"),
        ),
    ),
)


@dataclass
class Open:
    """A gate that stays open for some seconds."""

    seconds: float = 5.0
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def deadline(self) -> datetime:
        return self.made + timedelta(seconds=self.seconds)

    def remaining(self) -> float:
        return max(0.0, (self.deadline - datetime.now(UTC)).total_seconds())

    def check(self) -> None:
        if not self.remaining():
            raise BatchOver


def seed(client: Any, tenant: str, user: str) -> None:
    """Everything that one user of one tenant has in Redis."""
    client.set(f"session:{tenant}:{user}", "token", ex=3600 if user == "al" else None)
    client.set(f"query_cache:{tenant}:{user.encode().hex()}", json.dumps({"user_id": user, "answer": "x"}))
    client.sadd(f"online:{tenant}", user)
    client.sadd("everyone", f"{tenant}:{user}")
    client.zadd(f"board:{tenant}", {user: len(user)})
    client.hset(f"profiles:{tenant}", user, json.dumps({"name": "N"}))
    client.rpush(f"recent:{tenant}", json.dumps({"user_id": user, "q": 1}))
    client.xadd(f"events:{tenant}", {"user_id": user, "what": "login"})


def seed_all(client: Any) -> None:
    """Every user of every tenant."""
    for tenant in TENANTS:
        for user in USERS:
            seed(client, tenant, user)


def everything(client: Any) -> dict[bytes, Any]:
    """The whole content of one database, as comparable values."""
    found: dict[bytes, Any] = {}
    for key in client.scan_iter(count=1000):
        match client.type(key):
            case b"string":
                found[key] = client.get(key)
            case b"set":
                found[key] = client.smembers(key)
            case b"zset":
                found[key] = client.zrange(key, 0, -1, withscores=True)
            case b"hash":
                found[key] = client.hgetall(key)
            case b"list":
                found[key] = client.lrange(key, 0, -1)
            case _:
                found[key] = client.xrange(key)
    return found


def discover(eraser: RedisEraser, scope: Scope) -> list[Item]:
    """All pages of one discover pass; the cursor goes through JSON as it does in a step's row."""
    items: list[Item] = []
    cursor: Any = None
    while True:
        page = eraser.discover(scope, json.loads(json.dumps(cursor)))
        items += page.entries
        cursor = page.cursor
        if cursor is None:
            return items


def erase_all(eraser: RedisEraser, scope: Scope) -> int:
    """Passes until two are clean, then finish. Returns how many items went."""
    erased = clean = 0
    while clean < eraser.clean_passes:
        items = discover(eraser, scope)
        clean = 0 if items else clean + 1
        for part in batches(items, eraser.batch):
            tally = eraser.erase(scope, part, Open())
            assert tally.taken == len(part)
            erased += tally.erased
    eraser.finish(scope, Open())
    return erased


def search(verifier: RedisVerifier, scope: Scope) -> list[Hit]:
    hits: list[Hit] = []
    cursor: Any = None
    while True:
        page = verifier.search(scope, json.loads(json.dumps(cursor)))
        hits += page.entries
        cursor = page.cursor
        if cursor is None:
            return hits


def entries(verifier: RedisVerifier, scope: Scope) -> set[Entry]:
    return set(verifier.bystanders(scope))


def user(tenant: str, name: str, **more: Any) -> Scope:
    return Scope(Subject(tenant, name), **more)


def whole(tenant: str, **more: Any) -> Scope:
    return Scope(Subject(tenant), **more)
