"""Legal holds of the storage itself: on every version of the scope and no other, and off again."""

from __future__ import annotations

import json

import pytest

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Permanent, Scope, Subject
from lifecycle.systems.s3.eraser import connect as connect_eraser
from lifecycle.systems.s3.preserver import connect
from tests.lifecycle.systems.s3.tools import Bucket, erase_all


def held(bucket: Bucket, prefix: str) -> list[str]:
    return [
        key
        for kind, key, version in sorted(bucket.entries(prefix))
        if kind == "version"
        and bucket.s3.head_object(Bucket=bucket.place["bucket"], Key=key, VersionId=version).get(
            "ObjectLockLegalHoldStatus"
        )
        == "ON"
    ]


def test_a_bucket_without_object_lock_can_hold_nothing(bucket: Bucket, datamap: DataMap) -> None:
    bucket.put("tenant-h/user-al/a")
    preserver = connect(bucket.place, datamap)
    with pytest.raises(Permanent, match="no Object Lock"):
        preserver.preserve(Scope(Subject("h", "al")), None)
    preserver.close()


def test_every_version_is_held_until_it_is_released(locked_bucket: Bucket, datamap: DataMap) -> None:
    for key in ("tenant-h/user-al/a", "tenant-h/user-al/a", "tenant-h/user-al/b", "tenant-h/user-ali/a"):
        locked_bucket.put(key)
    locked_bucket.remove("tenant-h/user-al/b")
    scope = Scope(Subject("h", "al"))
    preserver, eraser = connect(locked_bucket.place, datamap), connect_eraser(locked_bucket.place, datamap)
    page = preserver.preserve(scope, None)
    assert (len(page.entries), page.cursor) == (3, None)
    names = ["tenant-h/user-al/a", "tenant-h/user-al/a", "tenant-h/user-al/b"]
    assert held(locked_bucket, "tenant-h/") == names
    erased, _, locked = erase_all(eraser, scope)
    assert erased == 1  # the delete marker holds no data
    assert sorted(json.loads(each.item.key)[0] for each in locked) == names
    assert {each.until for each in locked} == {None}
    preserver.release(page.entries)
    preserver.release(page.entries)
    assert held(locked_bucket, "tenant-h/") == []
    assert erase_all(eraser, scope)[0] == 3
    preserver.release(page.entries)
    assert {key for _, key, _ in locked_bucket.entries("tenant-h/")} == {"tenant-h/user-ali/a"}
    preserver.close()
    eraser.close()
