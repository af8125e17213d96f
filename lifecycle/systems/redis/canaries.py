"""Markers in every shape that Redis stores things in, for one subject."""

from __future__ import annotations

import json

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Permanent, Planted, Scope
from lifecycle.systems.redis.connection import Client, Databases, raw
from lifecycle.systems.redis.families import CONTAINERS, Family, parts


class Canaries:
    """Plants and lifts. A shape is `type:template` (`set:online:{tenant}`), in the map's first database."""

    def __init__(self, databases: Databases, datamap: DataMap) -> None:
        self._databases = databases
        self._number = datamap.keys.databases[0]
        self._families = {f"{key.type}:{key.template}": Family(key) for key in datamap.keys.families}

    def shapes(self, scope: Scope) -> list[str]:
        """Every family whose category may be erased and in which this kind of subject can own something."""
        kept = set(scope.retained) | scope.held_categories
        return [
            shape
            for shape, family in self._families.items()
            if family.key.category not in kept and (scope.subject.user is None or family.names_user())
        ]

    def plant(self, scope: Scope, shape: str, marker: str) -> Planted:
        """Plants `marker`; again is harmless. A canary never takes the place of a key that the application uses."""
        if shape not in self._families:
            raise Permanent(f"Redis has no shape called {shape}.")
        family, client = self._families[shape], self._databases.client(self._number)
        name = self._name(family, scope, marker)
        member = self._plant(client, family, scope, name, marker)
        return Planted(shape, marker, json.dumps([self._number, family.key.type, name, member]))

    def _name(self, family: Family, scope: Scope, marker: str) -> str:
        """The container that users share; or, for a key of one user, that key with the marker in the user's place."""
        placed = marker if family.key.type not in CONTAINERS or "{user}" in family.key.template else "canary"
        has_any = "{*}" in family.key.template
        values = {"{tenant}": scope.subject.tenant, "{*}": placed, "{document}": placed}
        values["{user}"] = scope.subject.user if has_any and scope.subject.user else marker
        return "".join(values.get(part, part) for part in parts(family.key.template))

    def _plant(self, client: Client, family: Family, scope: Scope, name: str, marker: str) -> str:
        key, user = raw(name), scope.subject.user or marker
        note = {family.key.user_in or "user_id": user, "tenant_id": scope.subject.tenant, "canary": marker}
        member = marker
        template = family.key.member or family.key.field or ""
        if family.shared_by_tenants and "{tenant}" in template:
            values = {"{tenant}": scope.subject.tenant, "{user}": marker, "{*}": marker}
            member = "".join(values.get(part, part) for part in parts(template))
        elif family.key.user_in and family.key.type in ("set", "zset", "list"):
            member = json.dumps(note)
        match family.key.type:
            case "set":
                client.sadd(key, raw(member))
            case "zset":
                client.zadd(key, {raw(member): -1e15})
            case "hash":
                client.hset(key, raw(member), json.dumps(note))
            case "list":
                if client.lpos(key, raw(member)) is None:
                    client.rpush(key, raw(member))
            case "stream":
                fields = {**note, family.key.field or "user_id": user}
                return self._entry(client, key, marker) or str(client.xadd(key, fields).decode())
            case _:
                client.set(key, json.dumps(note), nx=True)
        return member

    def _entry(self, client: Client, key: bytes, marker: str) -> str:
        """The id of the stream's entry that carries `marker`, if it is already there."""
        for entry, fields in client.xrevrange(key, count=1000):
            if fields.get(b"canary") == marker.encode():
                return str(entry.decode())
        return ""

    def lift(self, planted: Planted) -> None:
        """Takes a canary out again; again is harmless."""
        number, kind, name, member = json.loads(planted.place)
        client, key = self._databases.client(number), raw(name)
        match kind:
            case "set":
                client.srem(key, raw(member))
            case "zset":
                client.zrem(key, raw(member))
            case "hash":
                client.hdel(key, raw(member))
            case "list":
                client.lrem(key, 0, raw(member))
            case "stream":
                client.xdel(key, member)
            case _:
                client.unlink(key)
