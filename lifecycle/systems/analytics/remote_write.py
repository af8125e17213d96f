"""Prometheus remote write 1.0, as much as one marker needs (specification: prometheus.io/docs/specs/remote_write_spec)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def one_sample(labels: Mapping[str, str], timestamp: int, value: float) -> bytes:
    """The body that writes one sample (milliseconds since the epoch) of one series."""
    series = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, labels[name].encode())) for name in sorted(labels)
    )
    series += _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(timestamp))
    return _snappy(_field(1, series))


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _snappy(data: bytes) -> bytes:
    """Snappy's block format with one literal: valid, only not smaller."""
    return _varint(len(data)) + b"\xf4" + struct.pack("<H", len(data) - 1) + data
