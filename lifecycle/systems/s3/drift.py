"""Top-level folders and keys of the bucket that no entry of the data map classifies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lifecycle.datamap.model import DataMap
from lifecycle.systems import clients
from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.s3.layout import OURS, Layout

MOST = 20


def unclassified(place: Mapping[str, str], datamap: DataMap) -> list[str]:
    """One sentence for each top-level folder, and one for loose keys, that the map does not know."""
    layout, bucket = Layout(datamap.objects), place["bucket"]
    folders: set[str] = set()
    loose = 0
    try:
        for page in _pages(place, bucket, Delimiter="/"):
            folders |= {each["Prefix"] for each in page.get("CommonPrefixes", ())}
            entries = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            loose += len({entry["Key"] for entry in entries if not layout.classifies_top(entry["Key"])})
        strange = sorted(each for each in folders if each not in OURS and not layout.classifies_top(each))
        unknown = [folder for folder in strange if _holds_something(place, bucket, folder)]
    except ClientError as error:
        raise Permanent("The bucket can't be listed; check its name and the reader's rights.") from error
    except BotoCoreError as error:
        raise Transient("The object storage did not answer; try again when it is up.") from error
    named = [
        f"The folder {folder!r} of the bucket {bucket!r} is in no entry of the data map; add it under s3.prefixes."
        for folder in unknown[:MOST]
    ]
    if len(unknown) > MOST:
        named.append(
            f"{len(unknown) - MOST} more folders of the bucket {bucket!r} are in no entry of the data map."
        )
    if loose:
        named.append(f"{loose} keys at the top of the bucket {bucket!r} are in no entry of the data map.")
    return named


def _holds_something(place: Mapping[str, str], bucket: str, folder: str) -> bool:
    """Some servers go on showing a folder whose last version was deleted."""
    pages = _pages(place, bucket, Prefix=folder)
    return any(page.get("Versions") or page.get("DeleteMarkers") for page in pages)


def _pages(place: Mapping[str, str], bucket: str, **wanted: Any):  # type: ignore[no-untyped-def]
    client = clients.aws(
        "s3",
        endpoint_url=place["endpoint"],
        aws_access_key_id=place.get("reader_key") or place["key"],
        aws_secret_access_key=place.get("reader_secret") or place["secret"],
        region_name=place.get("region") or "us-east-1",
        config={
            "signature_version": "s3v4",
            "connect_timeout": 5,
            "read_timeout": 60,
            "s3": {"addressing_style": "path"},
        },
    )
    return client.get_paginator("list_object_versions").paginate(Bucket=bucket, **wanted)
