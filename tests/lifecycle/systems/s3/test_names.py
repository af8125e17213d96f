"""Keys that read like encoded ones are read as they are, at every page edge, whatever a server encodes.

Ceph sends the keys of versions encoded and the marker of the next page not. Asked for encoded keys of unfinished
uploads, it encodes them without saying so, and SeaweedFS says so without doing it.
"""

from __future__ import annotations

import pytest

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Scope, Subject
from lifecycle.systems.s3 import listing
from lifecycle.systems.s3.eraser import connect
from lifecycle.systems.s3.inventory import Inventory
from lifecycle.systems.s3.wire import Wire
from tests.lifecycle.systems.s3.tools import Bucket, erase_all

USER = "[1] {ü}"
BASE = f"tenant-names/user-{USER}/"
# Decoded once too often, "%7E" is "~" and leaps behind all others; "%20" and "+" are " " and lead back to the start.
KEYS = [BASE + name for name in ("%20", "%25", "%7E", "+", "a b", "a%2Fb", "a+b", "b%7E", "c", "é%41")]


@pytest.fixture(scope="module", autouse=True)
def _planted(bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put(key)
        bucket.begin(key)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_eraser_reads_every_key(bucket: Bucket, size: int) -> None:
    wire = Wire(bucket.place, bucket.place["key"], bucket.place["secret"])
    shown, pages, after = [], 0, None
    while pages == 0 or after is not None:
        page = listing.versions(wire, BASE, after, size)
        shown += [entry.key for entry in page.entries]
        after, pages = page.more, pages + 1
        assert pages <= len(KEYS) + 1, "the pages do not come to an end"
    uploads = [entry.key for entry in listing.uploads(wire, BASE, None).entries]
    wire.close()
    assert (sorted(shown), sorted(uploads)) == (sorted(KEYS), sorted(KEYS))


@pytest.mark.timeout(30)  # its pages went on for ever
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_verifier_reads_every_key(bucket: Bucket, size: int) -> None:
    inventory = Inventory(bucket.place, 2)
    flat = [entry.key for entry in inventory.all_versions(BASE, size)]
    walked = [entry.key for entry in inventory.walk("tenant-names/", size)]
    uploads = [entry.key for entry in inventory.all_uploads(BASE, 1000)]
    inventory.close()
    assert (sorted(flat), sorted(walked), sorted(uploads)) == (sorted(KEYS), sorted(KEYS), sorted(KEYS))


def test_everything_of_an_oddly_named_user_goes(
    bucket: Bucket, datamap: DataMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifecycle.systems.s3.eraser.FIRST", 3)
    eraser = connect(bucket.place, datamap)
    erased, _, _ = erase_all(eraser, Scope(Subject("names", USER)))
    eraser.close()
    assert (erased, bucket.entries(BASE)) == (2 * len(KEYS), set())


def test_uploads_of_many_pages_are_all_seen(bucket: Bucket) -> None:
    begun = [f"{BASE}many/{number}" for number in range(7)]
    for key in begun:
        bucket.begin(key)
    wire = Wire(bucket.place, bucket.place["key"], bucket.place["secret"])
    inventory = Inventory(bucket.place, 2)

    page = listing.uploads(wire, f"{BASE}many/", None, 3)
    shown = [entry.key for entry in page.entries]
    while page.more is not None and len(shown) <= len(begun):
        page = listing.uploads(wire, f"{BASE}many/", page.more, 3)
        shown += [entry.key for entry in page.entries]
    swept = [entry.key for entry in inventory.all_uploads(f"{BASE}many/", 3)]
    wire.close()
    inventory.close()

    assert (sorted(shown), sorted(swept)) == (sorted(begun), sorted(begun))
