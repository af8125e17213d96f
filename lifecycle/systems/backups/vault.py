"""The bucket: objects, their versions, and deletions that a stopped server refuses when it wakes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from datetime import datetime

from lifecycle.systems.base import Gate, Permanent, Transient
from lifecycle.systems.s3.wire import Answer, Wire

_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Vault:
    """Reads and writes with the place's own key pair."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self._wire = Wire(place, place["key"], place["secret"])

    def get(self, key: str) -> bytes | None:
        """The newest version's bytes, None where there is none."""
        answer = self._wire.send("GET", key)
        if answer.status == 404:
            return None
        return _good(answer).body

    def put(self, key: str, data: bytes, ends: datetime | None = None) -> None:
        """Writes one object; the server refuses it after `ends`."""
        _good(self._wire.send("PUT", key, body=data, ends=ends))

    def keys(self, prefix: str) -> list[str]:
        """Every key below `prefix` that has a current version, sorted."""
        query = {"list-type": "2", "prefix": prefix}
        return sorted(
            _text(found, "Key")
            for found in self._pages(query, "Contents", "continuation-token", "NextContinuationToken")
        )

    def folders(self, prefix: str = "") -> list[str]:
        """The names right below `prefix` that end in a slash."""
        query = {"list-type": "2", "prefix": prefix, "delimiter": "/"}
        pages = self._pages(query, "CommonPrefixes", "continuation-token", "NextContinuationToken")
        return sorted({_text(found, "Prefix") for found in pages})

    def delete(self, key: str, gate: Gate) -> int:
        """Deletes every version and marker of exactly one key; returns how many."""
        count = 0
        for version in self._versions(key):
            gate.check()
            _good(
                self._wire.send(
                    "DELETE", key, {"versionId": version}, ends=gate.deadline, seconds=gate.remaining()
                ),
                404,
            )
            count += 1
        return count

    def remove(self, key: str) -> None:
        """The same for what we planted ourselves, outside any batch."""
        for version in self._versions(key):
            _good(self._wire.send("DELETE", key, {"versionId": version}), 404)

    def close(self) -> None:
        """Ends the connections."""
        self._wire.close()

    def _versions(self, key: str) -> list[str]:
        query = {"versions": "", "prefix": key}
        answer = ET.fromstring(_good(self._wire.send("GET", "", query)).body)  # noqa: S314 - the storage service's own
        rows = [*answer.iter(f"{_NAMESPACE}Version"), *answer.iter(f"{_NAMESPACE}DeleteMarker")]
        return [_text(row, "VersionId") for row in rows if _text(row, "Key") == key]

    def _pages(self, query: dict[str, str], row: str, ask: str, answer: str) -> Iterator[ET.Element]:
        token = ""
        while True:
            page = _good(self._wire.send("GET", "", query | ({ask: token} if token else {})))
            root = ET.fromstring(page.body)  # noqa: S314
            yield from root.iter(f"{_NAMESPACE}{row}")
            token = root.findtext(f"{_NAMESPACE}{answer}") or ""
            if not token:
                return


def _text(row: ET.Element, name: str) -> str:
    return row.findtext(f"{_NAMESPACE}{name}") or ""


def _good(answer: Answer, *also: int) -> Answer:
    if answer.status < 300 or answer.status in also:
        return answer
    if answer.status in (401, 403):
        raise Permanent("The backup storage refused our credentials. Check `key` and `secret` of the place.")
    raise Transient(f"The backup storage answered {answer.status}; try again.")
