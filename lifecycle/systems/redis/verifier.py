"""Looks again in Redis: every key of every database, names and values, with plain matching in this process."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lifecycle.datamap.model import DataMap, Key
from lifecycle.systems.base import Entry, Hit, Item, Page, Scope, content_hash, key_hash
from lifecycle.systems.items import Items
from lifecycle.systems.needles import CANARY, Found, Needles
from lifecycle.systems.redis.connection import Client, Databases, flat_parts, item_key, item_parts, translated
from lifecycle.systems.redis.reading import Part, family_of, owner_in, parts, small_strings, spellings

COUNT = 1_000
WHOLE = ("key", "cache")
SECONDS = 8.0
TENANT_FIELDS = ("tenant_id", "tenant")


class RedisVerifier:
    """See `lifecycle.systems.base.Verifier`. It shares no query and no pattern with the eraser."""

    name = "redis"
    method = (
        "every key of the manifest asked for again; SCAN of all databases with matching of names and values of strings, "
        "sets, sorted sets, hashes, lists, streams, consumers and the slow log in the verifier's own process"
    )

    def __init__(self, place: Mapping[str, str], datamap: DataMap) -> None:
        self._databases = Databases(place, timeout=60.0)
        self._families = datamap.keys.families
        self._mapped = datamap.keys.databases

    def remaining(self, scope: Scope, items: Sequence[Item]) -> list[Item]:
        found: list[Item] = []
        asked: dict[int, list[tuple[Item, list[str]]]] = {}
        with translated():
            for run in Items.of(items).runs:
                if run.kind in WHOLE and self._none_exists(run.keys):
                    continue
                for item, (number, *rest) in zip(run, item_parts(run.keys), strict=True):
                    asked.setdefault(number, []).append((item, rest))
            for number, wanted in asked.items():
                found += self._remaining(scope, self._databases.client(number), wanted)
        return found

    def _none_exists(self, asked: Sequence[str]) -> bool:
        """Whether the server has none of these whole keys: it counts a thousand at a time."""
        names: dict[int, list[bytes]] = defaultdict(list)
        numbers, texts = flat_parts(asked, 2) or [list(each) for each in zip(*item_parts(asked), strict=True)]
        for number in set(numbers):
            names[number] = [
                name.encode("utf-8", "surrogateescape")
                for whose, name in zip(numbers, texts, strict=True)
                if whose == number
            ]
        return not any(
            self._databases.client(number).exists(*part)
            for number, keys in names.items()
            for part in (keys[at : at + COUNT] for at in range(0, len(keys), COUNT))
        )

    def _remaining(self, scope: Scope, client: Client, wanted: list[tuple[Item, list[str]]]) -> list[Item]:
        with client.pipeline(transaction=False) as pipe:
            for item, rest in wanted:
                _ask(pipe, item.kind, [part.encode("utf-8", "surrogateescape") for part in rest])
            answers = pipe.execute(raise_on_error=False)
        left = []
        for (item, rest), answer in zip(wanted, answers, strict=True):
            if isinstance(answer, Exception) or not _is_there(item.kind, rest, answer):
                continue  # an error here is a key that is gone or has become another type
            if item.kind == "cache" and not self._still_theirs(scope, client, rest[0]):
                continue
            left.append(item)
        return left

    def _still_theirs(self, scope: Scope, client: Client, name: str) -> bool:
        """A cache key that was written again may hold another user's answer by now."""
        if scope.subject.user is None and not scope.spared_users:
            return True
        value = client.get(name.encode("utf-8", "surrogateescape")) or b""
        found = family_of(self._families, name, scope.subject.tenant)
        return found is not None and self._belongs(scope, found[0], found[1], Part("key", None, value), name)

    # Raw search

    def search(self, scope: Scope, cursor: Any) -> Page[Hit]:
        """Cursor: {"db": position in the list of used databases, "at": SCAN cursor}; None of a key."""
        at = cursor or {"db": -1, "at": "0"}
        hits: list[Hit] = []
        end = time.monotonic() + SECONDS
        needles = {foreign: Needles.of(scope, foreign=foreign) for foreign in (False, True)}
        with translated():
            if at["db"] < 0:
                hits += self._slow_log(scope)
                at = {"db": 0, "at": "0"}
            numbers = self._numbers()
            while at["db"] < len(numbers):
                number = numbers[at["db"]]
                client = self._databases.client(number)
                following, keys = client.scan(int(at["at"]), count=COUNT)
                typed = list(_typed(client, keys))
                known = small_strings(client, typed)
                for key, kind in typed:
                    hits += self._hits(scope, needles, number, client, key, kind, known.get(key))
                at = (
                    {"db": at["db"], "at": str(following)}
                    if int(following)
                    else {"db": at["db"] + 1, "at": "0"}
                )
                if time.monotonic() > end or len(hits) >= 5_000:
                    return Page(hits, at if at["db"] < len(numbers) else None)
        return Page(hits, None)

    def _numbers(self) -> list[int]:
        return sorted({*self._mapped, *self._databases.used()})

    def _hits(
        self,
        scope: Scope,
        needles_of: Mapping[bool, Needles],
        number: int,
        client: Client,
        key: bytes,
        kind: str,
        known: bytes | None,
    ) -> Iterator[Hit]:
        name = key.decode("utf-8", "surrogateescape")
        family, says = family_of(self._families, name, scope.subject.tenant) or (None, {})
        if family is not None and family.category in set(scope.retained) | scope.held_categories:
            return
        needles = needles_of[says.get("tenant", scope.subject.tenant) != scope.subject.tenant]
        in_name = _best(scope, needles, name)
        whole = Part("key", None, key)
        named = self._by_name(scope, family, says)
        if in_name or named:
            belongs = self._belongs(scope, family, says, whole, name)
            yield self._hit(number, name, family, whole, in_name, needles, belongs)
            if belongs and not scope.canaries:
                return
        for part in parts(client, key, kind, known):
            for content in spellings(part.content):
                found = _best(scope, needles, content)
                if named and (found is None or found.kind != CANARY):
                    continue  # the key itself is the hit; inside it only canaries are still looked for
                may_own = found is not None or self._may_own(scope, family, says)
                belongs = may_own and self._belongs(scope, family, says, part, name)
                if found or belongs:
                    inner = Part(part.kind, part.member, content)
                    yield self._hit(number, name, family, inner, found, needles, belongs)
                    break

    def _may_own(self, scope: Scope, family: Key | None, says: Mapping[str, str]) -> bool:
        """Whether a rule can make a part the subject's although it holds no needle."""
        return family is not None and says.get("tenant", scope.subject.tenant) == scope.subject.tenant

    def _by_name(self, scope: Scope, family: Key | None, says: Mapping[str, str]) -> bool:
        """Whether the name alone makes the key the subject's."""
        if family is None or says.get("tenant") != scope.subject.tenant:
            return False
        if scope.subject.user is None:
            return says.get("user") not in scope.spared_users if "user" in says else not scope.spared_users
        return says.get("user") in (scope.subject.user, *scope.canaries)

    def _belongs(
        self, scope: Scope, family: Key | None, says: Mapping[str, str], part: Part, name: str
    ) -> bool:
        """Whether this part is the subject's own by a rule of the map; else a hit in it is a mention."""
        if any(canary.encode() in part.content or canary in name for canary in scope.canaries):
            return True
        if family is None:
            return False
        if says.get("tenant", scope.subject.tenant) != scope.subject.tenant:
            return False
        if self._by_name(scope, family, says):
            return True
        users = _users_in(family, part, scope.subject.tenant, scoped="tenant" in says)
        if scope.subject.user is None:
            return ("tenant" in says or bool(users)) and not users & scope.spared_users
        return scope.subject.user in users

    def _hit(
        self,
        number: int,
        name: str,
        family: Key | None,
        part: Part,
        found: Found | None,
        needles: Needles,
        belongs: bool,
    ) -> Hit:
        kind, key = _removable(number, name, family, part, belongs)
        content = part.content
        excerpt = needles.excerpt(content, found) if found else ""
        place = f"database {number}, {family.template if family else 'a key that no family names'}"
        return Hit(kind, key, place, found.kind if found else "rule", belongs, excerpt)

    def _slow_log(self, scope: Scope) -> Iterator[Hit]:
        needles, client = Needles.of(scope), self._databases.client(0)
        for entry in client.slowlog_get(1000):
            command = entry["command"] if isinstance(entry["command"], bytes) else b" ".join(entry["command"])
            if (found := needles.find(command)) and found.kind != CANARY:
                yield Hit(
                    "slow_log",
                    json.dumps(entry["id"]),
                    "slow log",
                    found.kind,
                    True,
                    needles.excerpt(command, found),
                )

    # Everyone else

    def bystanders(self, scope: Scope) -> Iterator[Entry]:
        """One entry per string key, per member of a container, per entry of a stream. A key with a time to live is left
        out: it may expire at any moment, and its loss says nothing."""
        with translated():
            for number in self._numbers():
                client = self._databases.client(number)
                position = -1
                seen: set[bytes] = set()
                while position != 0:
                    position, keys = client.scan(max(position, 0), count=COUNT)
                    position = int(position)
                    fresh = {content_hash(key): key for key in keys}  # SCAN may give a key twice
                    yield from self._entries(
                        scope, number, client, [k for h, k in fresh.items() if h not in seen]
                    )
                    seen.update(fresh)

    def _entries(self, scope: Scope, number: int, client: Client, keys: Sequence[bytes]) -> Iterator[Entry]:
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.pttl(key)
            lasting = [key for key, left in zip(keys, pipe.execute(), strict=True) if int(left) == -1]
        typed = list(_typed(client, lasting))
        strings = [key for key, kind in typed if kind == "string"]
        values = dict(zip(strings, client.mget(strings), strict=True)) if strings else {}
        for key, kind in typed:
            name = key.decode("utf-8", "surrogateescape")
            family, says = family_of(self._families, name, scope.subject.tenant) or (None, {})
            if kind == "string":
                pieces: Iterator[Part] = iter([Part("key", None, values[key] or b"")])
            else:
                pieces = parts(client, key, kind)
            for part in pieces:
                if part.kind in ("stream_group", "stream_consumer") or self._belongs(
                    scope, family, says, part, name
                ):
                    continue
                if family is not None and self._gone_with_it(scope, family, says):
                    continue
                kind_of, key_of = _removable(number, name, family, part, belongs=True)
                yield Entry(
                    _owner(family, says, part),
                    key_hash(kind_of, key_of),
                    content_hash(part.content + part.beside),
                )

    def _gone_with_it(self, scope: Scope, family: Key, says: Mapping[str, str]) -> bool:
        """Whether everything under this key goes with a whole tenant."""
        return (
            scope.subject.user is None
            and not scope.spared_users
            and says.get("tenant") == scope.subject.tenant
        )

    def close(self) -> None:
        self._databases.close()


def _best(scope: Scope, needles: Needles, content: str | bytes) -> Found | None:
    """A canary where there is one, else the first match: that a canary was seen must never depend on what else is there."""
    text = content if isinstance(content, str) else content.decode("utf-8", "surrogateescape")
    for canary in scope.canaries:
        if (start := text.find(canary)) >= 0:
            return Found(CANARY, start, start + len(canary))
    return needles.find(text)


def _ask(pipe: Client, kind: str, rest: list[bytes]) -> None:
    match kind:
        case "set_member":
            pipe.sismember(*rest)
        case "zset_member":
            pipe.zscore(*rest)
        case "hash_field":
            pipe.hexists(*rest)
        case "list_element":
            pipe.lpos(*rest)
        case "stream_entry":
            pipe.xrange(rest[0], min=rest[1], max=rest[1])
        case "stream_consumer":
            pipe.xinfo_consumers(rest[0], rest[1])
        case _:
            pipe.exists(rest[0])


def _is_there(kind: str, rest: list[str], answer: Any) -> bool:
    if kind in ("zset_member", "list_element"):
        return answer is not None
    if kind == "stream_consumer":
        return any(each["name"] == rest[2].encode("utf-8", "surrogateescape") for each in answer)
    return bool(answer)


def _typed(client: Client, keys: Sequence[bytes]) -> Iterator[tuple[bytes, str]]:
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.type(key)
        kinds = pipe.execute()
    return ((key, kind.decode()) for key, kind in zip(keys, kinds, strict=True) if kind != b"none")


def _users_in(family: Key, part: Part, tenant: str, *, scoped: bool) -> set[str]:
    """The users whom a part names by the map's rules; `scoped` when the key's name fixes the tenant."""
    users: set[str] = set()
    template = family.member or family.field or ""
    if part.member is not None and "{" in template and part.kind != "stream_entry":
        says = owner_in(template, part.member, tenant) or {}
        if says and (scoped or says.get("tenant") == tenant):
            users.add(says.get("user", ""))
    path = family.user_in or (family.field if part.kind == "stream_entry" else "") or ""
    if part.kind == "stream_entry":
        tenants = {
            value.decode("utf-8", "replace")
            for name, value in part.pairs
            if name in (b"tenant_id", b"tenant")
        }
        named = {
            value.decode("utf-8", "surrogateescape") for name, value in part.pairs if name == path.encode()
        }
        users |= named if scoped or tenant in tenants else set()
    for value in [value for _, value in part.pairs] or [part.content]:
        users |= _users_in_json(value, path, tenant, scoped)
    return users


def _users_in_json(value: bytes, path: str, tenant: str, scoped: bool) -> set[str]:
    if not path or value[:1] not in (b"{", b"["):
        return set()
    try:
        document = json.loads(value)
    except ValueError:
        return set()
    if not isinstance(document, dict) or not (
        scoped or tenant in [str(document.get(name)) for name in TENANT_FIELDS]
    ):
        return set()
    found = document.get(path)
    if found is None:
        found = document
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
    return {str(found)} if isinstance(found, str | int | float) and not isinstance(found, bool) else set()


def _removable(number: int, name: str, family: Key | None, part: Part, belongs: bool) -> tuple[str, str]:
    """Kind and key of the item that takes this part, and nothing more, away."""
    if part.kind == "stream_group":
        return "stream_group", item_key(number, name, part.member or "")
    if part.kind == "stream_consumer":
        return "stream_consumer", item_key(number, name, *(part.member or "\n").split("\n", 1))
    if part.member is not None:
        return part.kind, item_key(number, name, part.member)
    cache = belongs and family is not None and family.user_in is not None and family.type == "string"
    return "cache" if cache else "key", item_key(number, name)


def _owner(family: Key | None, says: Mapping[str, str], part: Part) -> str:
    tenant = says.get("tenant", "")
    users = {says["user"]} if "user" in says else set()
    if family is not None and not users:
        users = _users_in(family, part, tenant, scoped=True)
    return "/".join([tenant or "nobody", *sorted(users)[:1]])


def connect(place: Mapping[str, str], datamap: DataMap) -> RedisVerifier:
    """The verifier of the Redis at place["url"] (or place["reader_url"], where a read-only user is given)."""
    return RedisVerifier({"url": place.get("reader_url") or place["url"]}, datamap)
