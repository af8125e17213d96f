"""What the tests of this folder share: a bucket to plant in, a gate, a loop as the workflow runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config

from lifecycle.systems.base import BatchOver, Eraser, Item, Locked, Scope


def client(place: dict[str, str], *, reader: bool = False) -> Any:
    """A plain boto3 client: the truth of these tests comes from code that the program doesn't use."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=place["endpoint"],
        aws_access_key_id=place["reader_key" if reader else "key"],
        aws_secret_access_key=place["reader_secret" if reader else "secret"],
        region_name="us-east-1",
        config=Config(signature_version="s3v4", read_timeout=20, retries={"total_max_attempts": 1}),
    )


@dataclass
class Bucket:
    """One bucket and its administrator."""

    s3: Any
    place: dict[str, str]

    def put(self, key: str, body: bytes = b"x", **more: Any) -> str:
        """Puts one version; gives its id."""
        return str(self.s3.put_object(Bucket=self.place["bucket"], Key=key, Body=body, **more)["VersionId"])

    def remove(self, key: str) -> None:
        """Puts a delete marker."""
        self.s3.delete_object(Bucket=self.place["bucket"], Key=key)

    def begin(self, key: str) -> str:
        """Leaves an upload of one part unfinished."""
        name = self.place["bucket"]
        upload = str(self.s3.create_multipart_upload(Bucket=name, Key=key)["UploadId"])
        self.s3.upload_part(Bucket=name, Key=key, UploadId=upload, PartNumber=1, Body=b"part")
        return upload

    def entries(self, prefix: str = "") -> set[tuple[str, str, str]]:
        """(kind, key, id) of all below a prefix; key by key where two keys share a name, so that none is left out."""
        name, found = self.place["bucket"], set()
        page = self.s3.list_object_versions(Bucket=name, Prefix=prefix)
        assert not page["IsTruncated"], "list a smaller prefix: pages of this server may leave entries out"
        found |= {("version", v["Key"], v["VersionId"]) for v in page.get("Versions", ())}
        found |= {("marker", v["Key"], v["VersionId"]) for v in page.get("DeleteMarkers", ())}
        uploads = self.s3.list_multipart_uploads(Bucket=name, Prefix=prefix).get("Uploads", ())
        return found | {("upload", u["Key"], u["UploadId"]) for u in uploads}


class Open:
    """A gate that is open for some seconds; `hold` closes it before the n-th send."""

    def __init__(self, seconds: float = 5, sends: int = 10_000) -> None:
        self.deadline = datetime.now(UTC) + timedelta(seconds=seconds)
        self.sends = sends

    def check(self) -> None:
        self.sends -= 1
        if self.sends < 0 or datetime.now(UTC) >= self.deadline:
            raise BatchOver

    def remaining(self) -> float:
        return max(0.0, (self.deadline - datetime.now(UTC)).total_seconds())


def found(eraser: Eraser, scope: Scope) -> list[Item]:
    """One whole discover pass."""
    items: list[Item] = []
    cursor: Any = None
    while True:
        page = eraser.discover(scope, cursor)
        items += page.entries
        cursor = page.cursor
        if cursor is None:
            return items


def erase_all(eraser: Eraser, scope: Scope) -> tuple[int, int, list[Locked]]:
    """Passes until two in a row are empty: (erased, passes, locked). Locked items count as done."""
    erased = passes = clean = 0
    locked: dict[str, Locked] = {}
    while clean < eraser.clean_passes:
        passes += 1
        assert passes < 12, "the passes do not come to an end"
        items = [item for item in found(eraser, scope) if item.key not in locked and item.action == "erase"]
        clean = 0 if items else clean + 1
        rest: Sequence[Item] = items
        while rest:
            tally = eraser.erase(scope, rest[: eraser.batch], Open())
            erased += tally.erased
            locked |= {each.item.key: each for each in tally.locked}
            rest = rest[tally.taken :]
    eraser.finish(scope, Open())
    return erased, passes, list(locked.values())
