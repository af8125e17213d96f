"""What an application says of a thing it wrote: `change.sha256`. The follower's copy is checked against it."""

from __future__ import annotations

import array
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def of_object(content: bytes) -> str:
    """SHA-256 of an object's bytes, as hex."""
    return hashlib.sha256(content).hexdigest()


def of_vector(
    values: Sequence[float],
    metadata: Mapping[str, Any] | None = None,
    sparse: Mapping[str, Any] | None = None,
) -> str:
    """SHA-256 over a vector's float32 values (little endian), its sparse part and its metadata, as hex.

    Numbers in metadata count as the service keeps them, as float64: 1 and 1.0 are one.
    """
    digest = hashlib.sha256(_single(values))
    if sparse:
        digest.update(json.dumps(list(sparse["indices"])).encode() + _single(sparse["values"]))
    plain = {name: _number(value) for name, value in (metadata or {}).items()}
    digest.update(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())
    return digest.hexdigest()


def _single(values: Sequence[float]) -> bytes:
    packed = array.array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
