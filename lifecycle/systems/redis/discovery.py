"""What belongs to a subject in one Redis: first what its templates name outright, then one sweep of the keyspace.

The cursor holds places (database, family, SCAN cursor, stream id), never a key: it is stored in clear.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Action, Item, Page, Scope
from lifecycle.systems.items import Items, Run
from lifecycle.systems.redis.connection import Client, Databases, item_key, key_items, raw, text
from lifecycle.systems.redis.families import Family, beginning, fill, glob, regex
from lifecycle.systems.redis.ownership import Judge

PAGE = 5_000
STEP = 2_000  # keys or members a call
SECONDS = 10.0
MEMBER_KINDS = {"set": "set_member", "zset": "zset_member", "hash": "hash_field", "list": "list_element"}
Found = tuple[list[Run], Any]


class Discovery:
    """One call of `discover`. `databases` are opened lazily."""

    def __init__(self, databases: Databases, datamap: DataMap, scope: Scope) -> None:
        self._databases = databases
        self._numbers = datamap.keys.databases
        self._families = [Family(key) for key in datamap.keys.families]
        self._scope = scope
        self._judge = Judge(scope)
        self._tenant = scope.subject.tenant
        self._whole = scope.subject.user is None

    def page(self, cursor: Any) -> Page[Item]:
        """Items from `cursor` on: {"db": index, "stage": "named"|"swept", "at": place inside}."""
        at = cursor or {"db": 0, "stage": "named", "at": None}
        items: list[Run] = []
        count = 0
        end = time.monotonic() + SECONDS
        while at is not None and count < PAGE and time.monotonic() < end:
            found, at = self._step(at)
            items += found
            count += sum(len(run.keys) for run in found)
        return Page(Items(items), at)

    def _step(self, at: dict[str, Any]) -> Found:
        if at["db"] >= len(self._numbers):
            return [], None
        number = self._numbers[at["db"]]
        work = self._named if at["stage"] == "named" else self._swept
        items, place = work(number, at["at"])
        if place is not None:
            return items, {**at, "at": place}
        if at["stage"] == "named":
            return items, {**at, "stage": "swept", "at": None}
        return items, {"db": at["db"] + 1, "stage": "named", "at": None}

    # What the templates name outright

    def _named(self, number: int, place: Any) -> Found:
        family_at, inner = place or (0, None)
        if family_at >= len(self._families):
            return [], None
        family = self._families[family_at]
        items, inner = self._one_named(number, family, inner)
        return items, (family_at, inner) if inner is not None else (family_at + 1, None)

    def _one_named(self, number: int, family: Family, inner: Any) -> Found:
        client, names = self._databases.client(number), self._exact(family)
        if not names:
            return [], None
        if family.shared_by_users and not self._takes_containers(family):
            return self._inside(number, names[0], family, inner)
        present = [name for name, there in zip(names, _each(client, "exists", names), strict=True) if there]
        return self._whole_keys(number, present, family), None

    def _exact(self, family: Family) -> list[str]:
        template = family.key.template
        if self._whole or "{user}" not in template:
            if not self._whole and not family.shared_by_users:
                return []
            name = fill(template, self._tenant, None)
            return [name] if name else []
        return [name for each in self._judge.names if (name := fill(template, self._tenant, each))]

    def _takes_containers(self, family: Family) -> bool:
        """A whole tenant's container goes as one key, unless a held user's members stay in it."""
        return self._whole and not self._scope.spared_users and not family.shared_by_tenants

    # One sweep for all templates that stand for many keys

    def _swept(self, number: int, place: Any) -> Found:
        sweep = [family for family in self._families if self._is_swept(family)]
        if not sweep:
            return [], None
        position, skip, inner = place or ("0", 0, None)
        client = self._databases.client(number)
        following, keys = client.scan(int(position), match=self._match(sweep), count=STEP)
        items, containers = self._sort(number, sweep, keys)
        if skip or inner is not None:
            items = []  # reported by the call that stopped inside this step
        for index, (name, family) in enumerate(containers):
            if index < skip:
                continue
            more, inner = self._inside(number, name, family, inner if index == skip else None)
            items += more
            if inner is not None:
                return items, (position, index, inner)
        return items, (str(following), 0, None) if int(following) else None

    def _is_swept(self, family: Family) -> bool:
        if self._whole:
            return fill(family.key.template, self._tenant, None) is None
        return family.names_user() and fill(family.key.template, self._tenant, "u") is None

    def _match(self, sweep: Sequence[Family]) -> bytes:
        user = None if self._whole or self._scope.canaries else self._scope.subject.user
        if len(sweep) == 1:
            return raw(glob(sweep[0].key.template, self._tenant, user))
        return raw(
            "*" + glob("{tenant}", self._tenant, None) + "*"
            if all("{tenant}" in f.key.template for f in sweep)
            else "*"
        )

    def _sort(
        self, number: int, sweep: Sequence[Family], keys: Sequence[bytes]
    ) -> tuple[list[Run], list[tuple[str, Family]]]:
        items: list[Run] = []
        containers: list[tuple[str, Family]] = []
        judged: list[tuple[str, Family]] = []
        for family in sweep:
            match = regex(family.key.template, self._tenant).fullmatch
            begin = raw(beginning(family.key.template, self._tenant))
            names = [name for name in _texts([key for key in keys if key.startswith(begin)]) if match(name)]
            if family.shared_by_users and not self._takes_containers(family):
                containers += [(name, family) for name in names]
            elif family.judged_by_value and (not self._whole or self._scope.spared_users):
                judged += [(name, family) for name in names]
            else:
                sure = self._whole and not self._scope.spared_users and not family.shared_by_tenants
                mine = names if sure else [name for name in names if self._judge.key(family, name)]
                items += self._whole_keys(number, mine, family)
        items += self._by_value(number, judged)
        return items, sorted(containers)

    def _by_value(self, number: int, judged: Sequence[tuple[str, Family]]) -> Iterator[Run]:
        client = self._databases.client(number)
        for start in range(0, len(judged), 500):
            part = judged[start : start + 500]
            values = client.mget([raw(name) for name, _ in part])
            for (name, family), value in zip(part, values, strict=True):
                if value is not None and self._judge.value(family, value):
                    yield from self._whole_keys(number, [name], family)

    # Members of one shared container

    def _inside(self, number: int, name: str, family: Family, inner: Any) -> Found:
        client = self._databases.client(number)
        match client.type(raw(name)):
            case b"stream":
                return self._stream(client, number, name, family, inner)
            case b"list":
                return self._list(client, number, name, family, inner)
            case b"set" | b"zset" | b"hash" as kind:
                return self._members(client, number, name, family, inner, kind.decode())
        return [], None

    def _members(
        self, client: Client, number: int, name: str, family: Family, inner: Any, kind: str
    ) -> Found:
        plain = not family.key.user_in and not family.shared_by_tenants
        if plain and not self._whole:
            return self._known_members(client, number, name, family, kind), None
        scan = {"set": client.sscan, "zset": client.zscan, "hash": client.hscan}[kind]
        following, found = scan(raw(name), int(inner or 0), count=STEP)
        pairs = (
            found.items()
            if isinstance(found, dict)
            else found
            if kind != "set"
            else ((m, b"") for m in found)
        )
        owned = [
            member
            for member, value in pairs
            if self._judge.member(family, member, value if isinstance(value, bytes) else b"")
        ]
        items = self._items(MEMBER_KINDS[kind], family, [(number, name, text(member)) for member in owned])
        return items, str(following) if int(following) else None

    def _known_members(self, client: Client, number: int, name: str, family: Family, kind: str) -> list[Run]:
        template = family.key.member or family.key.field
        if template is None:
            return []
        members = [member for each in self._judge.names if (member := fill(template, self._tenant, each))]
        ask = {"set": "sismember", "zset": "zscore", "hash": "hexists"}[kind]
        with client.pipeline(transaction=False) as pipe:
            for member in members:
                getattr(pipe, ask)(raw(name), raw(member))
            answers = pipe.execute()
        present = [answer is not None if kind == "zset" else bool(answer) for answer in answers]
        there = [member for member, is_there in zip(members, present, strict=True) if is_there]
        return self._items(MEMBER_KINDS[kind], family, [(number, name, member) for member in there])

    def _list(self, client: Client, number: int, name: str, family: Family, inner: Any) -> Found:
        start = int(inner or 0)
        elements = client.lrange(raw(name), start, start + STEP - 1)
        owned = {element for element in elements if self._judge.member(family, element)}
        items = self._items(
            "list_element", family, [(number, name, text(element)) for element in sorted(owned)]
        )
        return items, str(start + STEP) if len(elements) == STEP else None

    def _stream(self, client: Client, number: int, name: str, family: Family, inner: Any) -> Found:
        entries = client.xrange(raw(name), min=f"({inner}" if inner else "-", count=STEP)
        owned = [entry.decode() for entry, fields in entries if self._judge.entry(family, fields or {})]
        items = self._items("stream_entry", family, [(number, name, entry) for entry in owned])
        if inner is None:
            items += self._consumers(client, number, name, family)
        return items, entries[-1][0].decode() if len(entries) == STEP else None

    def _consumers(self, client: Client, number: int, name: str, family: Family) -> Iterator[Run]:
        if self._whole:
            return
        for group in client.xinfo_groups(raw(name)):
            for consumer in client.xinfo_consumers(raw(name), group["name"]):
                if text(consumer["name"]) in self._judge.names:
                    found = (number, name, text(group["name"]), text(consumer["name"]))
                    yield from self._items("stream_consumer", family, [found])

    # Items

    def _whole_keys(self, number: int, names: Sequence[str], family: Family) -> list[Run]:
        kind = "cache" if family.judged_by_value else "key"
        return [self._run(kind, family, key_items(number, names))] if names else []

    def _items(self, kind: str, family: Family, found: Sequence[tuple[int | str, ...]]) -> list[Run]:
        return [self._run(kind, family, [item_key(*parts) for parts in found])] if found else []

    def _run(self, kind: str, family: Family, keys: Sequence[str]) -> Run:
        category = family.key.category
        action = Action.RETAIN if category in self._scope.retained else Action.ERASE
        return Run(kind, category, action, keys)


def _texts(keys: Sequence[bytes]) -> list[str]:
    """The names of many keys, decoded in one go where none holds the separator."""
    names = text(b"\0".join(keys)).split("\0") if keys else []
    return names if len(names) == len(keys) else [text(key) for key in keys]


def _each(client: Client, command: str, names: Sequence[str]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            getattr(pipe, command)(raw(name))
        answers: list[Any] = pipe.execute()
    return answers
