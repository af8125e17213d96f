"""Samples for Prometheus by remote write 1.0; old ones too, within the server's out-of-order window."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice

import httpx

Labels = Mapping[str, str]  # with `__name__`
Samples = Sequence[tuple[int, float]]  # (milliseconds since 1970, value)

_PER_REQUEST = 2_000
_CHUNK = 1 << 16


def seed(url: str, series: Iterable[tuple[Labels, Samples]]) -> int:
    """Writes every series to the Prometheus at `url`; returns how many. Raises httpx.HTTPStatusError."""
    remaining, written = iter(series), 0
    while batch := list(islice(remaining, _PER_REQUEST)):
        body = b"".join(_field(1, _series(labels, samples)) for labels, samples in batch)
        _client().post(
            f"{url}/api/v1/write",
            content=b"".join(_snappy(body)),
            headers={
                "Content-Encoding": "snappy",
                "Content-Type": "application/x-protobuf",
                "X-Prometheus-Remote-Write-Version": "0.1.0",
            },
        ).raise_for_status()
        written += len(batch)
    return written


@cache
def _client() -> httpx.Client:
    return httpx.Client(timeout=30)


def _series(labels: Labels, samples: Samples) -> bytes:
    # The server wants labels sorted by name.
    named = [
        _field(1, _field(1, name.encode()) + _field(2, labels[name].encode())) for name in sorted(labels)
    ]
    valued = [_field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(at)) for at, value in samples]
    return b"".join(named + valued)


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _snappy(data: bytes) -> Iterator[bytes]:
    """The block format with literals only: valid, not smaller, and no package is needed for it."""
    yield _varint(len(data))
    for at in range(0, len(data), _CHUNK):
        chunk = data[at : at + _CHUNK]
        yield b"\xf4" + struct.pack("<H", len(chunk) - 1) + chunk
