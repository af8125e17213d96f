"""One connection per logical database, and Redis's errors as ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.items import columns

Client = Any  # redis.Redis: its stubs mix synchronous and asynchronous answers


class Databases:
    """The clients of one server, made when first asked for. No retries: a repeat is the caller's decision."""

    def __init__(self, place: Mapping[str, str], timeout: float = 30.0) -> None:
        # A database number in the address would win over the one asked for.
        self._url = urlsplit(place["url"])._replace(path="").geturl()
        self._timeout = timeout
        self._clients: dict[int, Client] = {}

    def client(self, number: int) -> Client:
        """The client of database `number`; answers are bytes."""
        if number not in self._clients:
            self._clients[number] = redis.Redis.from_url(
                self._url,
                db=number,
                socket_timeout=self._timeout,
                socket_connect_timeout=5,
                retry=Retry(NoBackoff(), 0),
                health_check_interval=0,
            )
        return self._clients[number]

    def used(self) -> list[int]:
        """The numbers of the databases that hold keys."""
        found = self.client(0).info("keyspace")
        return sorted(int(str(name).removeprefix("db")) for name in found)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()


@contextmanager
def translated() -> Iterator[None]:
    """Redis's errors as Transient or Permanent. Their own text may quote a key, so it is not repeated."""
    try:
        yield
    except (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise Permanent("Redis refuses these credentials for this command. Check the user's ACL.") from error
    except redis.exceptions.BusyLoadingError as error:
        raise Transient("Redis is still loading its data.") from error
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
        raise Transient("Redis did not answer.") from error
    except redis.exceptions.ReadOnlyError as error:
        raise Transient(
            "This Redis is a read-only replica now; its address must lead to the primary."
        ) from error
    except redis.exceptions.ResponseError as error:
        raise Permanent(f"Redis refused a command: {str(error).split(' ', 1)[0]}.") from None


def text(raw: bytes) -> str:
    """Bytes as text that gives the same bytes back."""
    return raw.decode("utf-8", "surrogateescape")


def raw(name: str) -> bytes:
    """The bytes of such a text."""
    return name.encode("utf-8", "surrogateescape")


def item_key(*parts: int | str) -> str:
    """The key of an item: [database, key, member] as JSON."""
    if len(parts) == 2:
        number, name = parts
        if (
            isinstance(name, str)
            and name.isascii()
            and name.isprintable()
            and not ('"' in name or "\\" in name)
        ):
            return f'[{number}, "{name}"]'  # what json.dumps gives, several times faster
    return json.dumps(parts)


def key_items(number: int, names: Sequence[str]) -> list[str]:
    """The keys of many items that are whole keys; one look at all names is several times faster than one at each."""
    together = "".join(names)
    if together.isascii() and together.isprintable() and not ('"' in together or "\\" in together):
        return [f'[{number}, "{name}"]' for name in names]
    return [item_key(number, name) for name in names]


def item_parts(keys: Sequence[str]) -> list[list[Any]]:
    """The parts of many item keys at once."""
    joined = f"[{','.join(keys)}]"
    try:
        found: list[list[Any]] = orjson.loads(joined)
    except orjson.JSONDecodeError:  # bytes that are not UTF-8 stand as lone surrogates
        found = json.loads(joined)
    return found


def flat_parts(keys: Sequence[str], width: int) -> list[list[Any]] | None:
    """The parts of item keys of `width` parts each, place by place; None where they differ."""
    try:
        return columns(keys, width)
    except orjson.JSONDecodeError:  # bytes that are not UTF-8 stand as lone surrogates
        return None


def plain_names(number: int, keys: Sequence[str]) -> list[bytes] | None:
    """The key names of two-part item keys of one database, without parsing; None where one needs it."""
    start = f'[{number}, "'
    if any("\\" in key or not key.startswith(start) for key in keys):
        return None
    first = len(start)
    return [key[first:-2].encode() for key in keys]
