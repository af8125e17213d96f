"""Canonical JSON (RFC 8785) and the times in it (RFC 3339, UTC)."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

import rfc8785

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z")


def encode(value: Any) -> bytes:
    """The one byte string of `value` under RFC 8785. Floats are refused (ValueError): counts and text only.

    Without floats, a verifier needs nothing but a standard library to write the same bytes.
    """
    _refuse_floats(value, "document")
    return rfc8785.dumps(value)


def decode(data: bytes) -> Any:
    """The value in `data`. Raises ValueError when `data` is not exactly its own canonical form."""
    try:
        value = json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("It is nested too deeply to be one of ours.") from error
    if encode(value) != data:
        raise ValueError("It is not canonical JSON (RFC 8785).")
    return value


def sha256(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def rfc3339(moment: datetime) -> str:
    """`2026-11-25T19:05:00Z`: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_time(value: Any) -> bool:
    """Whether `value` is an RFC 3339 time in UTC that exists in the calendar."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _refuse_floats(value: Any, where: str) -> None:
    if isinstance(value, float):
        raise ValueError(f"{where} is a floating-point number; write it as text.")
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_floats(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _refuse_floats(inner, f"{where}[{index}]")
