"""Only the subject's keys, members and entries go; every twin stays, byte for byte."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from demo.stack import control
from lifecycle.systems.base import Action, BatchOver, Transient
from lifecycle.systems.redis.eraser import RedisEraser
from lifecycle.systems.redis.verifier import RedisVerifier
from tests.lifecycle.systems.redis.parts import (
    TENANTS,
    USERS,
    Open,
    discover,
    entries,
    erase_all,
    everything,
    search,
    seed_all,
    user,
    whole,
)


def without(found: dict[bytes, Any], tenant: str, name: str) -> dict[bytes, Any]:
    """What must be left of `found` when one user of one tenant is gone."""
    left: dict[bytes, Any] = {}
    raw = name.encode()
    for key, value in found.items():
        text = key.decode()
        if text in (f"session:{tenant}:{name}", f"query_cache:{tenant}:{raw.hex()}"):
            continue
        if text == "everyone":
            value = value - {f"{tenant}:{name}".encode()}
        elif text == f"online:{tenant}":
            value = value - {raw}
        elif text == f"board:{tenant}":
            value = [each for each in value if each[0] != raw]
        elif text == f"profiles:{tenant}":
            value = {field: each for field, each in value.items() if field != raw}
        elif text == f"recent:{tenant}":
            value = [each for each in value if json.loads(each)["user_id"] != name]
        elif text == f"events:{tenant}":
            value = [each for each in value if each[1][b"user_id"] != raw]
        left[key] = value
    return left


@pytest.mark.parametrize(
    ("tenant", "name"), [("1", "u-1"), ("1*", "u*"), ("tenant-ü", "al"), ("[1]", "u-12")]
)
def test_one_user_goes_and_nobody_else(
    client: Any, eraser: RedisEraser, verifier: RedisVerifier, tenant: str, name: str
) -> None:
    seed_all(client)
    before, scope = everything(client), user(tenant, name)
    manifest, others = discover(eraser, scope), entries(verifier, scope)
    assert len(manifest) == 8
    assert len(verifier.remaining(scope, manifest)) == 8
    assert erase_all(eraser, scope) == 8
    assert everything(client) == without(before, tenant, name)
    assert verifier.remaining(scope, manifest) == []
    assert [hit for hit in search(verifier, scope) if hit.belongs] == []
    assert entries(verifier, scope) == others


@pytest.mark.parametrize("tenant", ["1", "1*", "a_b", "tenant-ü"])
def test_a_whole_tenant_goes_and_no_twin(
    client: Any, eraser: RedisEraser, verifier: RedisVerifier, tenant: str
) -> None:
    seed_all(client)
    before, scope = everything(client), whole(tenant)
    others = entries(verifier, scope)
    erase_all(eraser, scope)
    left = everything(client)
    gone = {key for key in before if key.decode().split(":")[1:2] == [tenant]}
    assert set(left) == set(before) - gone
    assert left[b"everyone"] == {f"{t}:{u}".encode() for t in TENANTS if t != tenant for u in USERS}
    assert all(left[key] == before[key] for key in left if key != b"everyone")
    assert search(verifier, scope) == []
    assert entries(verifier, scope) == others


def test_what_is_retained_is_marked_and_a_held_user_is_spared(client: Any, eraser: RedisEraser) -> None:
    seed_all(client)
    marked = {
        item.category: item.action for item in discover(eraser, user("1", "u-1", retained={"account": None}))
    }
    assert marked["account"] == Action.RETAIN
    assert marked["session"] == Action.ERASE
    erase_all(eraser, whole("1", spared_users=frozenset({"u-12"})))
    assert client.exists("session:1:u-12", f"query_cache:1:{b'u-12'.hex()}") == 2
    assert client.smembers("online:1") == {b"u-12"}
    assert client.hkeys("profiles:1") == [b"u-12"]
    assert [fields[b"user_id"] for _, fields in client.xrange("events:1")] == [b"u-12"]
    assert client.exists("session:1:u-1") == 0


def test_a_cache_that_became_somebody_elses_stays(
    client: Any, eraser: RedisEraser, verifier: RedisVerifier
) -> None:
    scope = user("1", "u-1")
    client.set("query_cache:1:h", json.dumps({"user_id": "u-1"}))
    found = discover(eraser, scope)
    client.set("query_cache:1:h", json.dumps({"user_id": "u-12"}))
    assert eraser.erase(scope, found, Open()).erased == 0
    assert client.exists("query_cache:1:h") == 1
    assert verifier.remaining(scope, found) == []


def test_streams_lose_pending_entries_and_a_consumer_of_that_name(client: Any, eraser: RedisEraser) -> None:
    client.xgroup_create("events:1", "workers", id="0", mkstream=True)
    mine = client.xadd("events:1", {"user_id": "u-1"})
    other = client.xadd("events:1", {"user_id": "u-12"})
    client.xreadgroup("workers", "u-1", {"events:1": ">"})
    erase_all(eraser, user("1", "u-1"))
    assert [entry for entry, _ in client.xrange("events:1")] == [other]
    pending = client.xpending_range("events:1", "workers", "-", "+", 10)
    assert [each["message_id"] for each in pending] == [other], mine
    assert pending[0]["consumer"] == b"reassigned"
    assert [each["name"] for each in client.xinfo_consumers("events:1", "workers")] == [b"reassigned"]


def test_a_stream_keeps_no_byte_of_deleted_entries_and_all_of_the_rest(
    client: Any, eraser: RedisEraser
) -> None:
    client.xgroup_create("events:1", "workers", id="0", mkstream=True)
    for number in range(20):
        client.xadd("events:1", {"user_id": "u-unheard-of" if number % 2 else "u-2", "n": number})
    client.xreadgroup("workers", "w1", {"events:1": ">"}, count=15)
    client.xack("events:1", "workers", client.xrange("events:1")[0][0])
    client.expire("events:1", 5_000)
    before = client.xrange("events:1")
    pending = client.xpending_range("events:1", "workers", "-", "+", 50)
    erase_all(eraser, user("1", "u-unheard-of"))
    assert b"u-unheard-of" not in client.dump("events:1")
    kept = [entry for entry in before if entry[1][b"user_id"] == b"u-2"]
    assert client.xrange("events:1") == kept
    left = {entry for entry, _ in kept}
    after = client.xpending_range("events:1", "workers", "-", "+", 50)
    expected = [
        (p["message_id"], p["consumer"], p["times_delivered"]) for p in pending if p["message_id"] in left
    ]
    assert [(p["message_id"], p["consumer"], p["times_delivered"]) for p in after] == expected
    assert len(client.xreadgroup("workers", "w1", {"events:1": ">"})[0][1]) == 2
    assert 0 < client.ttl("events:1") <= 5_000
    assert client.keys("*lifecycle*") == []


def test_keys_added_while_it_runs_are_found_by_the_next_pass(client: Any, eraser: RedisEraser) -> None:
    scope = whole("1")
    client.mset({f"session:1:u-{number}": "t" for number in range(12_000)})
    first = discover(eraser, scope)
    assert len(first) == 12_000
    client.set("session:1:late", "t")
    for start in range(0, len(first), eraser.batch):
        eraser.erase(scope, first[start : start + eraser.batch], Open())
    assert [item.key for item in discover(eraser, scope)] == ['[9, "session:1:late"]']


def test_a_batch_past_its_deadline_sends_nothing(client: Any, eraser: RedisEraser) -> None:
    seed_all(client)
    scope = whole("1")
    found = discover(eraser, scope)
    before = everything(client)
    with pytest.raises(BatchOver):
        eraser.erase(scope, found, Open(seconds=0.0))
    assert everything(client) == before


def test_a_server_that_was_stopped_refuses_what_it_gets_too_late(
    client: Any, eraser: RedisEraser, stack_dir: Path
) -> None:
    client.set("session:1:u-1", "t")
    scope = user("1", "u-1")
    found = discover(eraser, scope)
    pid = next(each["pid"] for each in control.status(stack_dir) if each["name"] == "redis-us-east-1")

    class StopsTheServer(Open):
        def check(self) -> None:
            super().check()
            os.kill(pid, signal.SIGSTOP)

    gate = StopsTheServer(seconds=0.6)
    waker = os.fork()
    if waker == 0:
        time.sleep(1.2)
        os.kill(pid, signal.SIGCONT)
        os._exit(0)
    with pytest.raises((BatchOver, Transient)):
        eraser.erase(scope, found, gate)
    os.waitpid(waker, 0)
    assert client.exists("session:1:u-1") == 1


def test_finish_leaves_nothing_in_slow_log_and_append_only_file(
    client: Any, eraser: RedisEraser, stack: dict[str, Any], stack_dir: Path
) -> None:
    needle = b"u-unheard-of-4711"
    client.set(b"session:1:" + needle, "t")
    threshold = client.config_get("slowlog-log-slower-than")["slowlog-log-slower-than"]
    client.config_set("slowlog-log-slower-than", 0)
    client.get(b"session:1:" + needle)
    client.config_set("slowlog-log-slower-than", threshold)
    erase_all(eraser, user("1", needle.decode()))
    assert not any(needle in entry["command"] for entry in client.slowlog_get(100))
    folder = stack_dir / "data" / "redis-us-east-1"
    assert not [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]
