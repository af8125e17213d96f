"""Lines too old to be put again: cleaned objects `logs-archive/<group>/<stream>.jsonl.zst` in the region's S3.

Group and stream are percent-encoded in the key, so that a group's prefix is exact. Each line is
`{"timestamp": ms, "message": text}`. A rewritten object is put as a new version and only then the older ones deleted.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import zstandard
from botocore.exceptions import ClientError

from lifecycle.systems import clients
from lifecycle.systems.base import Gate, Permanent, Transient
from lifecycle.systems.cloudwatch.service import Line

PREFIX = "logs-archive/"
SUFFIX = ".jsonl.zst"


class LockedVersion(Exception):
    """S3 refuses to delete a version because it is under retention or a legal hold."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one object (a delete marker has no content)."""

    key: str
    version: str
    latest: bool
    marker: bool = False


def group_prefix(group: str) -> str:
    """The prefix of exactly this group's archives."""
    return f"{PREFIX}{quote(group, safe='')}/"


def object_key(group: str, stream: str) -> str:
    """The key of one stream's archive."""
    return f"{group_prefix(group)}{quote(stream, safe='')}{SUFFIX}"


class Archive:
    """The archive's bucket. A place without `archive_bucket` has none: reading finds nothing, writing is refused."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self.bucket = place.get("archive_bucket") or ""
        self._client: Any = None
        if self.bucket:
            self._client = clients.aws(
                "s3",
                endpoint_url=place.get("archive_endpoint") or None,
                region_name=place.get("region") or "us-east-1",
                aws_access_key_id=place.get("archive_key") or None,
                aws_secret_access_key=place.get("archive_secret") or None,
                config={
                    "signature_version": "s3v4",
                    "connect_timeout": 5,
                    "read_timeout": 60,
                    "retries": {"mode": "standard", "max_attempts": 4},
                },
            )
        self._http = httpx.Client(verify=clients.trust())

    def versions(self, prefix: str) -> list[Version]:
        """Every version and delete marker under a prefix."""
        if not self.bucket:
            return []
        found = []
        for page in self._client.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket, Prefix=prefix
        ):
            for kind in ("Versions", "DeleteMarkers"):
                for each in page.get(kind, []):
                    found.append(
                        Version(each["Key"], each["VersionId"], each["IsLatest"], kind == "DeleteMarkers")
                    )
        return sorted(found, key=lambda version: (version.key, version.version))

    def lines(self, version: Version) -> Iterator[Line]:
        """The lines of one version, streamed; nothing where it is gone or a marker."""
        if version.marker:
            return
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=version.key, VersionId=version.version)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchVersion", "404"):
                return
            raise
        yield from unpack(answer["Body"])

    def write(self, key: str, packed: bytes) -> Version:
        """Puts a new version and returns it."""
        if not self.bucket:
            raise Permanent(
                "Some lines are older than 14 days and CloudWatch Logs would not take them again, but the environment "
                "names no archive bucket (archive_endpoint, archive_bucket, archive_key, archive_secret)."
            )
        answer = self._client.put_object(
            Bucket=self.bucket, Key=key, Body=packed, ContentType="application/zstd"
        )
        return Version(key, answer.get("VersionId") or "null", True)

    def delete(self, version: Version, gate: Gate) -> bool:
        """Deletes one version by a link that the server itself refuses after the batch's deadline."""
        gate.check()
        seconds = int(gate.remaining())
        if seconds < 1:
            return False
        parameters = {"Bucket": self.bucket, "Key": version.key, "VersionId": version.version}
        link = self._client.generate_presigned_url("delete_object", Params=parameters, ExpiresIn=seconds)
        answer = self._http.delete(link, timeout=max(0.1, gate.remaining()))
        if answer.status_code in (200, 204, 404):
            return True
        if answer.status_code in (403, 405) and "AccessDenied" in answer.text:
            raise LockedVersion
        raise Transient(f"S3 answered {answer.status_code} when an archive of logs was to be deleted.")

    def close(self) -> None:
        self._http.close()


class Packer:
    """Packs lines as they come; `packed()` ends it."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._writer: Any = zstandard.ZstdCompressor(level=6).stream_writer(self._out, closefd=False)
        self.count = 0

    def add(self, lines: Iterable[Line]) -> None:
        for line in lines:
            row = json.dumps({"timestamp": line.timestamp, "message": line.message}, ensure_ascii=False)
            self._writer.write(row.encode("utf-8", "surrogatepass") + b"\n")
            self.count += 1

    def packed(self) -> bytes:
        self._writer.close()
        return self._out.getvalue()


def unpack(body: Any) -> Iterator[Line]:
    """Lines of a packed file object."""
    with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as reader:
        for row in io.TextIOWrapper(reader, encoding="utf-8", errors="surrogatepass", newline="\n"):
            found = json.loads(row)
            yield Line(int(found["timestamp"]), found["message"])


def filtered(lines: Iterable[Line], change: Callable[[Line], Line | None]) -> tuple[Packer, int]:
    """What is left of lines after `change`, packed, and how many it dropped or changed."""
    packer, touched = Packer(), 0
    for line in lines:
        kept = change(line)
        touched += kept is not line
        if kept is not None:
            packer.add([kept])
    return packer, touched
