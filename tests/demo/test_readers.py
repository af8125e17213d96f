"""The verifier's credentials on the local stack: the servers themselves refuse to write for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis

from demo.platform.own_rows import DATAMAP, places
from demo.stack.place import REGIONS
from lifecycle.datamap.loader import load
from lifecycle.secrets import resolve
from lifecycle.systems import registry
from lifecycle.systems.base import Scope, Subject

WRITES: dict[str, Callable[[Any], Any]] = {
    "set": lambda client: client.set("session:1:u-1", "x"),
    "delete": lambda client: client.delete("session:1:u-1"),
    "unlink": lambda client: client.unlink("session:1:u-1"),
    "script": lambda client: client.eval("return redis.call('del', KEYS[1])", 1, "session:1:u-1"),
    "flush": lambda client: client.flushall(),
    "configure": lambda client: client.config_set("appendonly", "no"),
    "forget": lambda client: client.slowlog_reset(),
    "become": lambda client: client.execute_command("ACL", "SETUSER", "reader", "allcommands"),
}
SUBJECT = Scope(Subject("no-such-tenant", "nobody-at-all"))


def _place(region: str, system: str) -> dict[str, str]:
    return {name: resolve(value) for name, value in places(region)[system].items()}


@pytest.mark.parametrize("region", REGIONS)
def test_redis_lets_the_verifier_look_and_nothing_else(stack: dict[str, Any], region: str) -> None:
    place = _place(region, "redis")
    assert place["reader_url"] != place["url"]
    with redis.Redis.from_url(place["reader_url"], db=3) as client:
        for name, write in WRITES.items():
            with pytest.raises(redis.exceptions.NoPermissionError):
                write(client)
                pytest.fail(f"The reader may {name}.")
    _looks(place, "redis")


@pytest.mark.parametrize("region", REGIONS)
def test_pinecone_lets_the_verifier_look_and_nothing_else(stack: dict[str, Any], region: str) -> None:
    place = _place(region, "pinecone")
    assert place["reader_key"] != place["key"]
    headers = {"Api-Key": place["reader_key"], "X-Pinecone-Api-Version": "2025-10"}
    index, control = place["index_host"], place["control_host"]
    vector = {"id": "a", "values": [1.0] * 8}
    with httpx.Client(headers=headers) as client:
        for answer in (
            client.post(f"{index}/vectors/upsert", json={"namespace": "tenant-1", "vectors": [vector]}),
            client.post(
                f"{index}/vectors/update", json={"namespace": "tenant-1", "id": "a", "setMetadata": {}}
            ),
            client.post(f"{index}/vectors/delete", json={"namespace": "tenant-1", "ids": ["a"]}),
            client.delete(f"{index}/namespaces/tenant-1"),
            client.delete(f"{control}/indexes/{place['index']}"),
        ):
            assert answer.status_code == 403, answer.request.url
    _looks(place, "pinecone")


def _looks(place: dict[str, str], system: str) -> None:
    """The verifier finds its way with its own credentials alone."""
    mine = {name: value for name, value in place.items() if name not in ("key", "url")}
    verifier = registry.verifier(system, mine, load(DATAMAP.read_text()))
    try:
        page = verifier.search(SUBJECT, None)
        while page.cursor is not None:
            page = verifier.search(SUBJECT, page.cursor)
        assert page.entries == []
        list(verifier.bystanders(SUBJECT))
    finally:
        verifier.close()
