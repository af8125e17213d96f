"""The locked bucket: every file under S3 Object Lock in compliance mode, which nobody can shorten, then read back."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.utils import timezone

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class StoreFailed(Exception):
    """The locked bucket did not take or keep a file. Nothing is lost: the certificate is stored by the next call."""


def lock_end(start: datetime) -> datetime:
    """The day on which the lock of something issued at `start` ends."""
    year = start.year + settings.CERTIFICATE_LOCK_YEARS
    try:
        return start.replace(year=year)
    except ValueError:  # 29 February
        return start.replace(year=year, month=3, day=1)


def put(folder: str, files: Mapping[str, bytes], until: datetime) -> None:
    """Stores `files` below `folder` under lock until `until`, and reads each back with its lock. Idempotent.

    Raises StoreFailed with a sentence.
    """
    try:
        for name, data in files.items():
            _put_one(f"{folder}/{name}", data, until)
    except (BotoCoreError, ClientError) as error:
        raise StoreFailed(
            f"The locked bucket can't be used ({type(error).__name__}). It is tried again."
        ) from error


def read(key: str) -> bytes | None:
    """The newest version of one object, None where there is none. Raises StoreFailed."""
    try:
        found: bytes = _client().get_object(Bucket=_bucket(), Key=key)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise StoreFailed("The locked bucket can't be read. It is tried again.") from error
    except BotoCoreError as error:
        raise StoreFailed("The locked bucket can't be read. It is tried again.") from error
    return found


def put_head(day: str, document: bytes, signature: str) -> str:
    """Stores the signed audit head of a day; returns its key."""
    key = f"audit/{day}"
    put(key, {"head.json": document, "head.json.asc": signature.encode()}, lock_end(timezone.now()))
    return key


def _put_one(key: str, data: bytes, until: datetime) -> None:
    client, bucket = _client(), _bucket()
    if read(key) != data:
        client.put_object(
            Bucket=bucket,
            Key=key,
            Body=data,
            ContentMD5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=until,
        )
        if read(key) != data:
            raise StoreFailed(
                "The locked bucket gave back other bytes than it was given. Look at the bucket."
            )
    held = client.get_object_retention(Bucket=bucket, Key=key)["Retention"]
    # S3 keeps whole seconds.
    if held.get("Mode") != "COMPLIANCE" or held["RetainUntilDate"] < until - timedelta(seconds=1):
        raise StoreFailed(
            "The bucket did not lock a file in compliance mode. Give CERTIFICATES_BUCKET Object Lock."
        )


def _bucket() -> str:
    return settings.CERTIFICATE_STORE["bucket"]


def _client() -> S3Client:
    access = settings.CERTIFICATE_STORE
    return _connected(access["endpoint"], access["key"], access["secret"])


@lru_cache(maxsize=4)
def _connected(endpoint: str, key: str, secret: str) -> S3Client:
    import boto3  # here: every command loads this module, few need the store
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint or None,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(
            connect_timeout=5, read_timeout=20, retries={"max_attempts": 2}, s3={"addressing_style": "path"}
        ),
    )
