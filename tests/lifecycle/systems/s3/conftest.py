"""A real S3 server of the local stack, one fresh versioned bucket a module."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from lifecycle.datamap.model import DataMap, Objects, Prefix
from tests.lifecycle.systems.s3.tools import Bucket, client


@pytest.fixture(scope="session")
def datamap() -> DataMap:
    """The map's defaults and the sample platform's prefix."""
    return DataMap(1, "0", objects=Objects(prefixes=(Prefix("tenant-{tenant}/user-{user}/"),)))


@pytest.fixture(scope="module")
def bucket(stack: dict[str, Any]) -> Iterator[Bucket]:
    yield from _made(stack, locked=False)


@pytest.fixture(scope="module")
def locked_bucket(stack: dict[str, Any]) -> Iterator[Bucket]:
    yield from _made(stack, locked=True)


def _made(stack: dict[str, Any], *, locked: bool) -> Iterator[Bucket]:
    place = dict(stack["regions"]["us-east-1"]["s3"])
    place["bucket"] = f"trial-{uuid.uuid4().hex[:10]}"
    s3 = client(place)
    s3.create_bucket(Bucket=place["bucket"], ObjectLockEnabledForBucket=locked)
    s3.put_bucket_versioning(Bucket=place["bucket"], VersioningConfiguration={"Status": "Enabled"})
    yield Bucket(s3, place)
    s3.close()
