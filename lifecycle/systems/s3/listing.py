"""Pages of versions, unfinished uploads and current keys, as the eraser reads them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.s3.kinds import MARKER, UPLOAD, VERSION
from lifecycle.systems.s3.wire import Wire

_KINDS = {"Version": VERSION, "DeleteMarker": MARKER, "Upload": UPLOAD, "Contents": "object"}


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry. `mark` is its version id or upload id, "" for a current key."""

    kind: str
    key: str
    mark: str
    size: int = 0
    dated: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """One page, and the query that continues it (None at the end)."""

    entries: list[Listed]
    more: dict[str, str] | None


def versions(wire: Wire, prefix: str, after: dict[str, str] | None, size: int = 1000) -> Listing:
    """One page of versions and delete markers whose keys begin with `prefix`."""
    query = {"versions": "", "prefix": prefix, "max-keys": str(size), "encoding-type": "url", **(after or {})}
    root = _ask(wire, query)
    entries = _entries(root, "VersionId")
    more = _more(root, entries, ("key-marker", "NextKeyMarker"), ("version-id-marker", "NextVersionIdMarker"))
    return Listing(entries, more)


def uploads(wire: Wire, prefix: str, after: dict[str, str] | None, size: int = 1000) -> Listing:
    """One page of unfinished multipart uploads whose keys begin with `prefix`."""
    # Asked for encoded keys, Ceph 16.2 encodes them without saying so and SeaweedFS 4.48 says so without doing it.
    query = {"uploads": "", "prefix": prefix, "max-uploads": str(size), **(after or {})}
    root = _ask(wire, query)
    entries = _entries(root, "UploadId")
    more = _more(root, entries, ("key-marker", "NextKeyMarker"), ("upload-id-marker", "NextUploadIdMarker"))
    return Listing(entries, more)


def current(wire: Wire, prefix: str, after: dict[str, str] | None, size: int = 1000) -> Listing:
    """One page of current keys (ListObjectsV2), a view apart from that of the versions."""
    query = {
        "list-type": "2",
        "prefix": prefix,
        "max-keys": str(size),
        "encoding-type": "url",
        **(after or {}),
    }
    root = _ask(wire, query)
    entries = _entries(root, "")
    token = _text(root, "NextContinuationToken")
    if _text(root, "IsTruncated") != "true":
        return Listing(entries, None)
    return Listing(entries, {"continuation-token": token} if token else {"start-after": entries[-1].key})


def of_key(wire: Wire, key: str) -> Iterator[Listed]:
    """Every version, marker and upload of exactly one key."""
    for page in (versions, uploads):
        after: dict[str, str] | None = None
        seen = False
        while True:
            found = page(wire, key, after)
            exact = [entry for entry in found.entries if entry.key == key]
            yield from exact
            seen, after = seen or bool(exact), found.more
            # Versions of keys that merely begin with this one come behind it, on SeaweedFS some of them before it;
            # uploads stand in any order.
            behind = page is versions and seen and found.entries[-1].key > key
            if after is None or behind:
                break


def _ask(wire: Wire, query: dict[str, str]) -> ET.Element:
    try:
        return _ask_once(wire, query)
    except Transient:
        if "encoding-type" in query:
            raise
        # A key that XML can't spell, perhaps, or half an answer.
        return _ask_once(wire, {**query, "encoding-type": "url"})


def _ask_once(wire: Wire, query: dict[str, str]) -> ET.Element:
    answer = wire.send("GET", query=query)
    if answer.status != 200:
        raise Permanent(
            f"The object storage refused a listing (status {answer.status}); the key needs the right to list "
            "versions and unfinished uploads."
        )
    try:
        return ET.fromstring(answer.body)  # noqa: S314 - from the configured storage service
    except ET.ParseError as error:
        raise Transient("The object storage sent half a listing; try again.") from error


def _entries(root: ET.Element, mark: str) -> list[Listed]:
    encoded = _text(root, "EncodingType") == "url"
    found = []
    for element in root:
        kind = _KINDS.get(_name(element))
        if kind is None:
            continue
        values: dict[str, Any] = {_name(child): child.text or "" for child in element}
        key = unquote_plus(values["Key"]) if encoded else values["Key"]
        dated = values.get("LastModified") or values.get("Initiated", "")
        size, etag = int(values.get("Size") or 0), values.get("ETag", "").strip('"')
        found.append(Listed(kind, key, values.get(mark, ""), size, dated, etag))
    return found


def _more(root: ET.Element, entries: list[Listed], *markers: tuple[str, str]) -> dict[str, str] | None:
    if _text(root, "IsTruncated") != "true":
        return None
    encoded = _text(root, "EncodingType") == "url"
    (key_name, key_tag), (mark_name, mark_tag) = markers
    key, mark = _text(root, key_tag), _text(root, mark_tag)
    if not key:  # some servers leave the marker out: the last entry is it
        if not entries:
            raise Transient("The object storage says a listing goes on but not where; try again.")
        if mark and mark_name == "upload-id-marker":
            # SeaweedFS lists uploads by their id: a key beside it would leave out every other key.
            return {mark_name: mark}
        return {key_name: entries[-1].key, mark_name: entries[-1].mark}
    # Ceph (16.2) encodes the keys of entries but not the marker; AWS encodes both.
    plain = not encoded or bool(entries and entries[-1].key == key)
    return {key_name: key if plain else unquote_plus(key), **({mark_name: mark} if mark else {})}


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(root: ET.Element, name: str) -> str:
    for element in root:
        if _name(element) == name:
            return element.text or ""
    return ""
