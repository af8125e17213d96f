"""The verifier's view of a bucket: read with the reader's credentials, by code of its own.

Listings are fetched by presigned address and parsed as a stream of XML events; boto3's own parser takes five times
as long. Walking folder by folder gives pages whose edges differ from those of any flat listing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus
from xml.parsers.expat import ExpatError, ParserCreate

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from lifecycle.systems import clients
from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.s3.kinds import MARKER, UPLOAD, VERSION

_ENTRIES = {"Version": VERSION, "DeleteMarker": MARKER, "Upload": UPLOAD}
_FIELDS = {"Key", "VersionId", "UploadId", "ETag", "Size", "LastModified", "Initiated"}
_STATE = {
    "IsTruncated",
    "NextKeyMarker",
    "NextVersionIdMarker",
    "NextUploadIdMarker",
    "EncodingType",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One version, delete marker or upload, with what its owner would notice a change by."""

    kind: str
    key: str
    mark: str
    etag: str
    size: int
    modified: str


@dataclass(frozen=True, slots=True)
class Slice:
    """One page of a listing. `after` continues it, None at its end."""

    entries: list[Seen]
    folders: list[str]
    after: dict[str, str] | None


class _Events:
    """Collects entries, folders and state from the events of one listing."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, dict[str, str]]] = []
        self.folders: list[str] = []
        self.state: dict[str, str] = {}
        self._row: dict[str, str] | None = None
        self._in_folder = False
        self._text: list[str] = []

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self._text.clear()
        if name in _ENTRIES:
            self._row = {}
            self.rows.append((_ENTRIES[name], self._row))
        elif name == "CommonPrefixes":
            self._in_folder = True

    def end(self, name: str) -> None:
        if self._row is not None and name in _FIELDS:
            self._row[name] = "".join(self._text)
        elif name in _ENTRIES:
            self._row = None
        elif self._in_folder and name == "Prefix":
            self.folders.append("".join(self._text))
            self._in_folder = False
        elif self._row is None and name in _STATE:
            self.state[name] = "".join(self._text)

    def data(self, text: str) -> None:
        self._text.append(text)


class Inventory:
    """Listings, objects and tags of one bucket, read-only. Safe in threads."""

    def __init__(self, place: Mapping[str, str], threads: int) -> None:
        self.bucket = place["bucket"]
        self._http = urllib3.PoolManager(maxsize=threads, retries=False, timeout=urllib3.Timeout(5, 60))
        self.client: Any = clients.aws(
            "s3",
            endpoint_url=place["endpoint"],
            aws_access_key_id=place["reader_key"],
            aws_secret_access_key=place["reader_secret"],
            region_name=place.get("region") or "us-east-1",
            config={
                "signature_version": "s3v4",
                "connect_timeout": 5,
                "read_timeout": 60,
                "max_pool_connections": threads,
                "s3": {"addressing_style": "path"},
            },
        )

    def versions(
        self, prefix: str, size: int, after: dict[str, str] | None = None, delimiter: str = ""
    ) -> Slice:
        """One page of versions and delete markers below `prefix`; with a delimiter also the folders there."""
        wanted = {"Prefix": prefix, "MaxKeys": size, **({"Delimiter": delimiter} if delimiter else {})}
        events = self._listing("list_object_versions", {**wanted, **(after or {})})
        return self._slice(events, "VersionId", "VersionIdMarker", "NextVersionIdMarker", "LastModified")

    def uploads(self, prefix: str, size: int, after: dict[str, str] | None = None) -> Slice:
        """One page of unfinished uploads below `prefix`."""
        events = self._listing(
            "list_multipart_uploads", {"Prefix": prefix, "MaxUploads": size, **(after or {})}
        )
        return self._slice(events, "UploadId", "UploadIdMarker", "NextUploadIdMarker", "Initiated")

    def all_versions(self, prefix: str, size: int) -> Iterator[Seen]:
        """Every page of `versions`, flat."""
        after: dict[str, str] | None = None
        while True:
            page = self.versions(prefix, size, after)
            yield from page.entries
            after = page.after
            if after is None:
                return

    def all_uploads(self, prefix: str, size: int) -> Iterator[Seen]:
        """Every page of `uploads`."""
        after: dict[str, str] | None = None
        while True:
            page = self.uploads(prefix, size, after)
            yield from page.entries
            after = page.after
            if after is None:
                return

    def folder(self, prefix: str, size: int) -> Slice:
        """All entries directly in a folder, and the folders in it, over all pages."""
        entries: list[Seen] = []
        folders: set[str] = set()
        after: dict[str, str] | None = None
        while True:
            page = self.versions(prefix, size, after, "/")
            entries += page.entries
            folders |= set(page.folders)
            after = page.after
            if after is None:
                return Slice(entries, sorted(folders - {prefix}), None)

    def walk(self, prefix: str, size: int) -> Iterator[Seen]:
        """Everything below `prefix`, folder by folder."""
        waiting = [prefix]
        while waiting:
            page = self.folder(waiting.pop(), size)
            yield from page.entries
            waiting += page.folders

    def exists(self, key: str, version: str) -> bool:
        """Whether one version or marker can still be asked for."""
        try:
            self.client.head_object(Bucket=self.bucket, Key=key, VersionId=version)
        except ClientError as error:
            status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
            if status in (404, 400):
                return False
            if status == 405:  # a delete marker that is there
                return True
            raise Permanent("The bucket's objects can't be read; check the reader's rights.") from error
        except BotoCoreError as error:
            raise Transient("The object storage did not answer the verifier; try again.") from error
        return True

    def texts(self, entry: Seen, most: int) -> dict[str, bytes]:
        """What one version says: its content up to `most` bytes (else none of it), its metadata, its tags."""
        try:
            headers = (
                {}
                if entry.size > most
                else self.client.get_object(Bucket=self.bucket, Key=entry.key, VersionId=entry.mark)
            )
            content = headers["Body"].read() if headers else b""
            if not headers:
                headers = self.client.head_object(Bucket=self.bucket, Key=entry.key, VersionId=entry.mark)
            metadata = "\n".join(f"{k}={v}" for k, v in headers.get("Metadata", {}).items())
            raw = headers["ResponseMetadata"]["HTTPHeaders"]
            described = "\n".join(
                raw.get(h, "") for h in ("content-disposition", "content-type", "cache-control")
            )
            return {
                "content": content,
                "metadata": f"{metadata}\n{described}".encode("utf-8", "surrogateescape"),
                "tags": self._tags(entry) if raw.get("x-amz-tagging-count", "0") != "0" else b"",
            }
        except ClientError as error:
            if int(error.response["ResponseMetadata"]["HTTPStatusCode"]) == 404:
                return {}
            raise Permanent("The bucket's objects can't be read; check the reader's rights.") from error
        except (BotoCoreError, urllib3.exceptions.HTTPError) as error:
            raise Transient("The object storage did not answer the verifier; try again.") from error

    def close(self) -> None:
        """Close every connection."""
        self._http.clear()

    def _tags(self, entry: Seen) -> bytes:
        answer = self.client.get_object_tagging(Bucket=self.bucket, Key=entry.key, VersionId=entry.mark)
        return "\n".join(f"{tag['Key']}={tag['Value']}" for tag in answer["TagSet"]).encode()

    def _listing(self, operation: str, wanted: Mapping[str, Any]) -> _Events:
        encoded = {**wanted, "EncodingType": "url"}
        if operation != "list_multipart_uploads":
            return self._listing_once(operation, encoded)
        # Asked for encoded keys, Ceph 16.2 encodes them without saying so and SeaweedFS 4.48 says so without doing it.
        try:
            return self._listing_once(operation, wanted)
        except Transient:  # a key that XML can't spell, perhaps
            return self._listing_once(operation, encoded)

    def _listing_once(self, operation: str, wanted: Mapping[str, Any]) -> _Events:
        params = {"Bucket": self.bucket, **wanted}
        url = self.client.generate_presigned_url(operation, Params=params, ExpiresIn=300)
        try:
            answer = self._http.request("GET", url)
        except urllib3.exceptions.HTTPError as error:
            raise Transient("The object storage did not answer the verifier; try again.") from error
        if answer.status >= 500 or answer.status == 429:
            raise Transient(f"The object storage is busy (status {answer.status}); try again.")
        if answer.status != 200:
            raise Permanent(
                f"The object storage refused the verifier a listing (status {answer.status}); check the reader's rights."
            )
        events, parser = _Events(), ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = events.start, events.end
        parser.CharacterDataHandler = events.data
        try:
            parser.Parse(answer.data, True)
        except ExpatError as error:
            raise Transient("The object storage sent the verifier half a listing; try again.") from error
        return events

    def _slice(self, events: _Events, mark: str, mark_param: str, mark_state: str, modified: str) -> Slice:
        encoded = events.state.get("EncodingType") == "url"

        def plain(text: str) -> str:
            return unquote_plus(text) if encoded else text

        entries = [
            Seen(
                kind,
                plain(row["Key"]),
                row.get(mark, ""),
                row.get("ETag", ""),
                int(row.get("Size") or 0),
                row.get(modified, ""),
            )
            for kind, row in events.rows
        ]
        folders = [plain(folder) for folder in events.folders]
        # Ceph (16.2) encodes the keys of entries but not the marker, which is the last of them; AWS encodes both.
        last = {*(entry.key for entry in entries[-1:]), *folders[-1:]}
        marker = events.state.get("NextKeyMarker", "")
        key = marker if marker in last else plain(marker)
        return Slice(entries, folders, self._after(events, entries, key, mark_param, mark_state))

    def _after(
        self, events: _Events, entries: list[Seen], key: str, mark_param: str, mark_state: str
    ) -> dict[str, str] | None:
        if events.state.get("IsTruncated") != "true":
            return None
        if key:
            mark = events.state.get(mark_state, "")
            return {"KeyMarker": key, **({mark_param: mark} if mark else {})}
        if mark_param == "UploadIdMarker" and (mark := events.state.get(mark_state, "")):
            # SeaweedFS lists uploads by their id: a key beside it would leave out every other key.
            return {mark_param: mark}
        if not entries:
            raise Transient("The object storage says a listing goes on but not where; try again.")
        return {"KeyMarker": entries[-1].key, mark_param: entries[-1].mark}
