"""Canaries in every shape in which a versioned bucket can hold data."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lifecycle.systems.base import Permanent, Planted
from lifecycle.systems.s3 import listing
from lifecycle.systems.s3.kinds import MARKER, UPLOAD, VERSION
from lifecycle.systems.s3.wire import Answer, Wire

CURRENT, NONCURRENT, UNDER_MARKER = "current_version", "noncurrent_version", "under_delete_marker"
UNFINISHED, TWIN = "unfinished_upload", "folder_twin"


def shapes(wire: Wire) -> tuple[str, ...]:
    """What this bucket can hold. Where every object gets a retention, a canary could never be removed again."""
    if _value(wire.send("GET", query={"object-lock": ""}), "DefaultRetention") is not None:
        return (UNFINISHED,)
    if _value(wire.send("GET", query={"versioning": ""}), "Status") != "Enabled":
        return (CURRENT, UNFINISHED, TWIN)
    return (CURRENT, NONCURRENT, UNDER_MARKER, UNFINISHED, TWIN)


def plant(wire: Wire, key: str, shape: str, marker: str) -> Planted:
    """Plants `shape` at `key` unless it is there already."""
    plants: dict[str, Callable[[Wire, str, str], None]] = {
        CURRENT: _plant_current,
        NONCURRENT: _plant_noncurrent,
        UNDER_MARKER: _plant_under_marker,
        UNFINISHED: _plant_upload,
        TWIN: _plant_twin,
    }
    if shape not in plants:
        raise Permanent(f"S3 has no canary of the shape {shape!r}; known are {', '.join(plants)}.")
    plants[shape](wire, key, marker)
    return Planted(shape, marker, json.dumps([key, f"{key}/twin"] if shape == TWIN else [key]))


def lift(wire: Wire, planted: Planted) -> None:
    """Removes all that lies at the canary's keys."""
    ends = datetime.now(UTC) + timedelta(seconds=60)
    for key in json.loads(planted.place):
        for entry in list(listing.of_key(wire, key)):
            query = {"uploadId" if entry.kind == UPLOAD else "versionId": entry.mark}
            _done(wire.send("DELETE", key, query, ends=ends), 200, 204, 404)


def _plant_current(wire: Wire, key: str, marker: str) -> None:
    if not _kinds(wire, key):
        _put(wire, key, marker)


def _plant_noncurrent(wire: Wire, key: str, marker: str) -> None:
    for _ in range(len(_kinds(wire, key)), 2):
        _put(wire, key, marker)


def _plant_under_marker(wire: Wire, key: str, marker: str) -> None:
    kinds = _kinds(wire, key)
    if VERSION not in kinds:
        _put(wire, key, marker)
    if MARKER not in kinds:
        _done(wire.send("DELETE", key), 200, 204)


def _plant_upload(wire: Wire, key: str, marker: str) -> None:
    if UPLOAD in _kinds(wire, key):
        return
    upload = _value(_done(wire.send("POST", key, {"uploads": ""}), 200), "UploadId")
    if not upload:
        raise Permanent("The object storage began an upload without naming it.")
    _done(wire.send("PUT", key, {"partNumber": "1", "uploadId": upload}, _body(marker)), 200)


def _plant_twin(wire: Wire, key: str, marker: str) -> None:
    for each in (key, f"{key}/twin"):
        _plant_current(wire, each, marker)


def _kinds(wire: Wire, key: str) -> list[str]:
    return [entry.kind for entry in listing.of_key(wire, key)]


def _put(wire: Wire, key: str, marker: str) -> None:
    _done(wire.send("PUT", key, body=_body(marker)), 200)


def _body(marker: str) -> bytes:
    return json.dumps({"canary": marker}).encode()


def _done(answer: Answer, *wanted: int) -> Answer:
    if answer.status not in wanted:
        raise Permanent(
            f"The object storage refused a canary (status {answer.status} {answer.code()}); the key needs the right "
            "to write below the subject's prefix."
        )
    return answer


def _value(answer: Answer, name: str) -> str | None:
    if answer.status != 200 or not answer.body:
        return None
    for element in ET.fromstring(answer.body).iter():  # noqa: S314 - from the configured storage service
        if element.tag.rpartition("}")[2] == name:
            return (element.text or "").strip()
    return None
