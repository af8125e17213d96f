"""How the verifier reads Redis: its own walk over every database, its own reading of templates and values."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import zstandard

from lifecycle.datamap.model import Key
from lifecycle.systems.redis.connection import Client

PIECE = 4 * 1024 * 1024
OVERLAP = 4 * 1024
STEP = 1_000
SMALL = 16 * 1024
MOST_UNPACKED = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One readable part of a key: the item kind and member that would remove it alone, and its bytes.

    `pairs` are a stream entry's or a hash's names and values; `beside` is what belongs to it but is no text (a score).
    """

    kind: str
    member: str | None
    content: bytes
    pairs: tuple[tuple[bytes, bytes], ...] = ()
    beside: bytes = b""


def owner_in(template: str, name: str, tenant: str = "") -> dict[str, str] | None:
    """What `name` says in the places of the template's placeholders, or None where it doesn't fit.

    `tenant`, where given, is tried as the tenant's value first, so that an id with the separator in it is still read.
    """
    found: dict[str, str] = {}
    rest = name
    while template:
        before, open_brace, after = template.partition("{")
        if not rest.startswith(before):
            return None
        rest = rest[len(before) :]
        if not open_brace:
            return found if not rest else None
        placeholder, _, template = after.partition("}")
        following = template.partition("{")[0]
        if (
            placeholder == "tenant"
            and tenant
            and rest.startswith(tenant)
            and rest[len(tenant) :].startswith(following)
        ):
            value = tenant
        elif not following:
            value = rest
        else:
            value, separator, _ = rest.partition(following if placeholder == "*" else following[0])
            if not separator:
                return None
        if not value and placeholder != "*":
            return None
        found.setdefault(placeholder, value)
        rest = rest[len(value) :]
    return found if not rest else None


def family_of(families: tuple[Key, ...], name: str, tenant: str = "") -> tuple[Key, dict[str, str]] | None:
    """The family of the map that a key's name fits, with what the name says."""
    for family in families:
        found = owner_in(family.template, name, tenant)
        if found is not None and (not tenant or found.get("tenant", tenant) == tenant):
            return family, found
    if tenant:
        return family_of(families, name)
    return None


def small_strings(client: Client, typed: Sequence[tuple[bytes, str]]) -> dict[bytes, bytes]:
    """The values of those string keys that are at most `SMALL` bytes long, all asked for in one round trip."""
    keys = [key for key, kind in typed if kind == "string"]
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.getrange(key, 0, SMALL)  # a byte more than what counts as small
        answers = pipe.execute(raise_on_error=False)
    return {
        key: answer
        for key, answer in zip(keys, answers, strict=True)
        if isinstance(answer, bytes) and len(answer) <= SMALL
    }


def parts(client: Client, key: bytes, kind: str, known: bytes | None = None) -> Iterator[Part]:
    """Every part of a key's value, in pieces that fit in memory. `known` is the whole value where it was read already."""
    match kind:
        case "string" if known is not None:
            yield Part("key", None, known)
        case "string":
            yield from _string(client, key)
        case "set":
            for member in client.sscan_iter(key, count=STEP):
                yield Part("set_member", _text(member), member)
        case "zset":
            for member, score in client.zscan_iter(key, count=STEP):
                yield Part("zset_member", _text(member), member, beside=repr(score).encode())
        case "hash":
            for field, value in client.hscan_iter(key, count=STEP):
                yield Part("hash_field", _text(field), field + b"\n" + value, ((field, value),))
        case "list":
            yield from _list(client, key)
        case "stream":
            yield from _stream(client, key)
        case _:
            yield Part("key", None, b"")


def _string(client: Client, key: bytes) -> Iterator[Part]:
    length, start = int(client.strlen(key)), 0
    while True:
        yield Part("key", None, client.getrange(key, start, start + PIECE + OVERLAP - 1))
        start += PIECE
        if start >= length:
            return


def _list(client: Client, key: bytes) -> Iterator[Part]:
    start = 0
    while elements := client.lrange(key, start, start + STEP - 1):
        for element in elements:
            yield Part("list_element", _text(element), element)
        start += STEP


def _stream(client: Client, key: bytes) -> Iterator[Part]:
    after = "-"
    while entries := client.xrange(key, min=after, count=STEP):
        for entry, fields in entries:
            pairs = tuple((fields or {}).items())
            yield Part(
                "stream_entry",
                entry.decode(),
                b"\n".join(name + b"=" + value for name, value in pairs),
                pairs,
            )
        after = f"({entries[-1][0].decode()}"
    for group in client.xinfo_groups(key):
        yield Part("stream_group", _text(group["name"]), group["name"])
        for consumer in client.xinfo_consumers(key, group["name"]):
            yield Part(
                "stream_consumer", _text(group["name"]) + "\n" + _text(consumer["name"]), consumer["name"]
            )


def spellings(content: bytes) -> Iterator[bytes]:
    """The bytes themselves and, where they are packed (gzip, zlib, zstandard), what is inside."""
    yield content
    try:
        if content[:2] == b"\x1f\x8b":
            yield gzip.decompress(content)
        elif content[:1] == b"\x78":
            yield zlib.decompressobj().decompress(content, MOST_UNPACKED)
        elif content[:4] == b"\x28\xb5\x2f\xfd":
            yield zstandard.ZstdDecompressor().decompress(content, max_output_size=MOST_UNPACKED)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        return  # it only looked packed; the bytes themselves were given already


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
