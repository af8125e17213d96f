"""The verifier sees what the eraser's rules don't: other shapes, other databases, other people's data."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from lifecycle.systems.base import Hit
from lifecycle.systems.redis.connection import Databases
from lifecycle.systems.redis.drift import unclassified
from lifecycle.systems.redis.eraser import RedisEraser
from lifecycle.systems.redis.verifier import RedisVerifier
from tests.lifecycle.systems.redis.parts import (
    MAP,
    NUMBER,
    OTHER,
    discover,
    entries,
    erase_all,
    everything,
    search,
    seed_all,
    user,
    whole,
)

MARKER = "canary0123456789abcdef01234567"


def belonging(hits: list[Hit]) -> list[str]:
    return [hit.key for hit in hits if hit.belongs]


def test_other_peoples_values_that_name_the_user_are_mentions(client: Any, verifier: RedisVerifier) -> None:
    scope = user("1", "u-1234567")
    client.set("query_cache:1:a", json.dumps({"user_id": "u-2", "answer": "ask u-1234567"}))
    client.hset("profiles:1", "u-2", json.dumps({"manager": "u-1234567"}))
    client.set("query_cache:1:b", gzip.compress(b"packed by u-1234567"))
    client.set("query_cache:1:c", json.dumps({"user_id": "u-12345678"}))
    hits = search(verifier, scope)
    assert belonging(hits) == []
    assert sorted(hit.key for hit in hits) == [
        '[9, "profiles:1", "u-2"]',
        '[9, "query_cache:1:a"]',
        '[9, "query_cache:1:b"]',
    ]


def test_a_decided_mention_is_erased_alone(client: Any, eraser: RedisEraser, verifier: RedisVerifier) -> None:
    from lifecycle.systems.base import Item
    from tests.lifecycle.systems.redis.parts import Open

    client.hset("profiles:1", "u-2", json.dumps({"manager": "u-1234567"}))
    client.hset("profiles:1", "u-3", "{}")
    scope = user("1", "u-1234567")
    (hit,) = search(verifier, scope)
    eraser.erase(scope, [Item(hit.kind, hit.key)], Open())
    assert client.hkeys("profiles:1") == [b"u-3"]


def test_keys_in_a_database_that_nobody_named_are_drift_and_seen(
    client: Any, databases: Databases, verifier: RedisVerifier, place: dict[str, str]
) -> None:
    databases.client(OTHER).set("session:1:u-1234567", "t")
    client.set("basket:1:u-1234567", "t")
    problems = unclassified(place, MAP)
    assert any(f"database {OTHER} holds 1 keys" in each for each in problems)
    assert any("`basket:...`" in each for each in problems)
    assert not any("u-1234567" in each for each in problems)
    found = {hit.key: hit.belongs for hit in search(verifier, user("1", "u-1234567"))}
    assert found == {
        f'[{OTHER}, "session:1:u-1234567"]': True,
        f'[{NUMBER}, "basket:1:u-1234567"]': False,
    }


@pytest.mark.parametrize("make", [lambda: user("1", "u-1"), lambda: whole("1")])
def test_every_canary_is_seen_then_erased_and_can_be_lifted(
    client: Any, eraser: RedisEraser, verifier: RedisVerifier, make: Any
) -> None:
    seed_all(client)
    before, plain = everything(client), make()
    shapes = eraser.shapes(plain)
    assert len(shapes) == 8
    markers = [f"{MARKER}{number}" for number in range(len(shapes))]
    planted = [eraser.plant(plain, shape, marker) for shape, marker in zip(shapes, markers, strict=True)]
    for shape, marker in zip(shapes, markers, strict=True):
        eraser.plant(plain, shape, marker)
    scope = type(plain)(plain.subject, canaries=tuple(markers))
    hits = search(verifier, scope)
    assert {
        m for m in markers if any(m in h.key or m in h.excerpt for h in hits if h.needle == "canary")
    } == set(markers)
    for each in planted:
        eraser.lift(each)
    assert everything(client) == before
    for shape, marker in zip(shapes, markers, strict=True):
        eraser.plant(plain, shape, marker)
    erase_all(eraser, scope)
    assert belonging(search(verifier, scope)) == []
    assert discover(eraser, scope) == []


def test_a_lost_bystander_shows_and_an_expiring_one_does_not(client: Any, verifier: RedisVerifier) -> None:
    seed_all(client)
    scope = user("1", "u-1")
    before = entries(verifier, scope)
    assert not any(entry.owner == "1/u-1" for entry in before)
    client.unlink("session:1:al")  # has a time to live
    assert entries(verifier, scope) == before
    client.srem("online:17", "u-1")
    lost = before - entries(verifier, scope)
    assert [entry.owner for entry in lost] == ["17/u-1"]
