"""A real S3 server of the local stack, one fresh versioned bucket a module."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lifecycle.datamap.model import DataMap, Objects, Prefix
from tests.lifecycle.systems.s3.tools import Bucket, client


@pytest.fixture(scope="session")
def datamap() -> DataMap:
    """The map's defaults and the sample platform's prefix."""
    return DataMap(1, "0", objects=Objects(prefixes=(Prefix("tenant-{tenant}/user-{user}/"),)))


@pytest.fixture(scope="session")
def store(stack: dict[str, Any]) -> dict[str, str]:
    """Where the suite runs: the stack's server, or the one whose place (JSON) the file in `TRIAL_S3_PLACE` holds."""
    other = os.environ.get("TRIAL_S3_PLACE")
    place = json.loads(Path(other).read_text()) if other else stack["regions"]["us-east-1"]["s3"]
    return {str(name): str(value) for name, value in place.items()}


@pytest.fixture(scope="module")
def bucket(store: dict[str, str]) -> Iterator[Bucket]:
    yield from made(store, locked=False)


@pytest.fixture(scope="module")
def locked_bucket(store: dict[str, str]) -> Iterator[Bucket]:
    yield from made(store, locked=True)


def made(store: dict[str, str], *, locked: bool) -> Iterator[Bucket]:
    """A fresh versioned bucket at a store."""
    place = dict(store)
    place["bucket"] = f"trial-{uuid.uuid4().hex[:10]}"
    s3 = client(place)
    s3.create_bucket(Bucket=place["bucket"], ObjectLockEnabledForBucket=locked)
    s3.put_bucket_versioning(Bucket=place["bucket"], VersioningConfiguration={"Status": "Enabled"})
    yield Bucket(s3, place)
    s3.close()
