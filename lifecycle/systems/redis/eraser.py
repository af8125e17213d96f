"""Erases keys, members and entries of one subject in Redis or Valkey."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Gate, Item, Page, Permanent, Planted, Scope, Subject, Tally, Transient
from lifecycle.systems.items import Items
from lifecycle.systems.redis.canaries import Canaries
from lifecycle.systems.redis.connection import (
    Client,
    Databases,
    item_parts,
    plain_names,
    raw,
    text,
    translated,
)
from lifecycle.systems.redis.discovery import Discovery
from lifecycle.systems.redis.families import Family, regex
from lifecycle.systems.redis.ownership import Judge
from lifecycle.systems.redis.scripts import REMOVERS, Destroyer
from lifecycle.systems.redis.streams import rewrite_all

SEND = 2_500  # members a script


class RedisEraser:
    """See `lifecycle.systems.base.Eraser`. Databases that the map doesn't name are drift, not ours to touch."""

    name = "redis"
    method = (
        "UNLINK of exact keys, removal of members and fields, XACK and XDEL of stream entries, by scripts that the "
        "server refuses after the batch's deadline; streams and append-only file written anew; two clean passes (Redis/Valkey)"
    )
    batch = 5_000
    clean_passes = 2

    def __init__(self, place: Mapping[str, str], datamap: DataMap) -> None:
        self._databases = Databases(place)
        self._datamap = datamap
        self._canaries = Canaries(self._databases, datamap)

    def discover(self, scope: Scope, cursor: Any) -> Page[Item]:
        with translated():
            return Discovery(self._databases, self._datamap, scope).page(cursor)

    def erase(self, scope: Scope, items: Sequence[Item], gate: Gate) -> Tally:
        """Erases in any order; interrupted, nothing counts as taken and all of it is tried again."""
        erased = 0
        with translated():
            by_kind: dict[str, list[str]] = defaultdict(list)
            for run in Items.of(items).runs:
                by_kind[run.kind] += run.keys
            for kind, keys in by_kind.items():
                erased += self._one_kind(scope, kind, keys, gate)
        return Tally(taken=len(items), erased=erased)

    def _one_kind(self, scope: Scope, kind: str, keys: list[str], gate: Gate) -> int:
        guarded = kind == "cache" and (scope.subject.user is not None or bool(scope.spared_users))
        if kind in ("key", "cache") and not guarded:
            number = int(keys[0][1:].partition(",")[0])
            if (names := plain_names(number, keys)) is not None:
                return Destroyer(self._databases.client(number), gate).keys(names)
        grouped: dict[int, list[list[str]]] = defaultdict(list)
        for number, *rest in item_parts(keys):
            grouped[number].append(rest)
        erased = 0
        for number, found in grouped.items():
            client = self._databases.client(number)
            erased += self._send(client, Destroyer(client, gate), scope, kind, found, guarded)
        return erased

    def _send(
        self, client: Client, to: Destroyer, scope: Scope, kind: str, found: list[list[str]], guarded: bool
    ) -> int:
        erased = 0
        if kind in REMOVERS or kind == "stream_entry":
            for name, members in _by_key(found).items():
                for start in range(0, len(members), SEND):
                    part = members[start : start + SEND]
                    erased += (
                        to.entries(name, part) if kind == "stream_entry" else to.members(kind, name, part)
                    )
        elif kind == "stream_consumer":
            for key, group, consumer in found:
                erased += to.consumer(raw(key), raw(group), raw(consumer))
        elif kind == "stream_group":
            erased += sum(to.group(raw(key), raw(group)) for key, group in found)
        elif kind == "slow_log":
            client.slowlog_reset()
        elif kind in ("key", "cache"):
            keys = [raw(name) for (name,) in found]
            if not guarded:
                return to.keys(keys)
            for start in range(0, len(keys), SEND):
                erased += self._same(client, to, scope, keys[start : start + SEND])
        else:
            raise Permanent(f"Redis has no items of kind {kind}.")
        return erased

    def _same(self, client: Client, to: Destroyer, scope: Scope, keys: list[bytes]) -> int:
        """Caches are judged again by their value, and go only with that value."""
        judge, chosen, digests = Judge(scope), [], []
        for key, value in zip(keys, client.mget(keys), strict=True):
            family = self._family_of(text(key))
            if value is not None and family is not None and judge.value(family, value):
                chosen.append(key)
                digests.append(hashlib.sha1(value, usedforsecurity=False).hexdigest().encode())
        return to.keys_with_values(chosen, digests) if chosen else 0

    def _family_of(self, name: str) -> Family | None:
        for key in self._datamap.keys.families:
            if regex(key.template).fullmatch(name):
                return Family(key)
        return None

    def finish(self, scope: Scope, gate: Gate) -> Tally:
        """Streams, the slow log and the files on disk still hold bytes of what was erased: they are written anew."""
        notes: list[str] = []
        client = self._databases.client(0)
        with translated():
            notes += rewrite_all(self._databases, self._datamap, scope, gate)
            gate.check()
            for what, work in (("slow log", _empty_slow_log), ("append-only file", _rewrite_files)):
                try:
                    notes += work(client, gate)
                except redis.exceptions.ResponseError:
                    notes.append(f"The service keeps its {what} to itself: its own expiry applies.")
            _reach_replicas(client, gate)
        return Tally(detail={"notes": " ".join(notes)} if notes else {})

    def redact(self, scope: Scope, item: Item, gate: Gate) -> Tally:
        """A mention inside somebody else's value can only be erased with the value, never rewritten behind its owner."""
        raise Permanent(
            "A value in Redis is not redacted. Decide `erase` (the value goes) or `not this person`."
        )

    def plant(self, scope: Scope, shape: str, marker: str) -> Planted:
        with translated():
            return self._canaries.plant(scope, shape, marker)

    def shapes(self, scope: Scope) -> Sequence[str]:
        return self._canaries.shapes(scope)

    def lift(self, planted: Planted) -> None:
        with translated():
            self._canaries.lift(planted)

    def anchors(self, scope: Scope) -> Mapping[str, tuple[str, ...]]:
        return {}

    def identify(self, scope: Scope) -> Subject:
        return scope.subject

    def close(self) -> None:
        self._databases.close()


def _by_key(found: list[list[str]]) -> dict[bytes, list[bytes]]:
    grouped: dict[bytes, list[bytes]] = defaultdict(list)
    for name, member in found:
        grouped[raw(name)].append(raw(member))
    return grouped


def _empty_slow_log(client: Client, gate: Gate) -> list[str]:
    if int(client.slowlog_len()):
        gate.check()
        client.slowlog_reset()
    return []


def _rewrite_files(client: Client, gate: Gate) -> list[str]:
    """Starts a rewriting of the append-only file (and of a snapshot, where one exists) and waits for it in bounds."""
    facts = client.info("persistence")
    if facts.get("aof_enabled") and not facts.get("aof_rewrite_in_progress"):
        client.bgrewriteaof()
    if int(facts.get("rdb_saves", 0)) > 0 and not facts.get("rdb_bgsave_in_progress"):
        client.bgsave(schedule=True)
    while gate.remaining() > 0.5:
        facts = client.info("persistence")
        busy = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
        if not any(facts.get(name) for name in busy):
            if facts.get("aof_enabled") and facts.get("aof_last_bgrewrite_status") != "ok":
                raise Transient("Redis could not write its append-only file anew; look at its log.")
            return []
        time.sleep(0.05)
    return ["The append-only file was still being written anew when the erasure ended."]


def _reach_replicas(client: Client, gate: Gate) -> None:
    replicas = int(client.info("replication").get("connected_slaves", 0))
    if replicas and int(client.wait(replicas, max(1, int(gate.remaining() * 500)))) < replicas:
        raise Transient("A replica of Redis has not yet taken over the erasure.")


def connect(place: Mapping[str, str], datamap: DataMap) -> RedisEraser:
    """The eraser of the Redis at place["url"]."""
    return RedisEraser(place, datamap)
