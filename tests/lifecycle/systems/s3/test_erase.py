"""The eraser takes every version, marker and upload of exactly the subject, and nothing of anybody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Action, BatchOver, Permanent, Scope, Subject
from lifecycle.systems.s3.eraser import S3Eraser, connect
from tests.lifecycle.systems.s3.tools import Bucket, Open, erase_all, found

TWINS = ["1", "17", "117", "1*", "a_b", "aXb", "Ünï", "[1]", "{user}"]
USERS = ["al", "al*", "ali", "alice", "é", "é"]


@pytest.fixture
def eraser(bucket: Bucket, datamap: DataMap) -> Iterator[S3Eraser]:
    made = connect(bucket.place, datamap)
    yield made
    made.close()


def plant(bucket: Bucket, tenant: str, user: str) -> None:
    base = f"tenant-{tenant}/user-{user}/"
    for name in ("doc 1", "a+b%20c", "st*r?[x]", "ünï", "am&p<lt>'\"", "line\nbreak", "x"):
        bucket.put(base + name, b"old")
        bucket.put(base + name, b"new")
    bucket.put(f"{base}x/y/z")
    bucket.remove(base + "x")
    bucket.begin(base + "up*load")


def of(tenant: str, user: str | None = None, **more: object) -> Scope:
    return Scope(Subject(tenant, user), **more)  # type: ignore[arg-type]


def test_a_send_without_time_left_deletes_nothing(bucket: Bucket, eraser: S3Eraser) -> None:
    bucket.put("tenant-late/user-u/a")
    items = found(eraser, of("late"))
    short = Open()
    short.deadline = datetime.now(UTC).replace(
        microsecond=999_999
    )  # no whole second that a signature could name
    for gate in (short, Open(sends=0)):
        with pytest.raises(BatchOver):
            eraser.erase(of("late"), items, gate)
    assert len(bucket.entries("tenant-late/")) == 1


def test_a_batch_that_is_stopped_midway_names_what_is_done_in_order(bucket: Bucket, eraser: S3Eraser) -> None:
    for number in range(6):
        bucket.put(f"tenant-mid/user-u/{number}")
    items = found(eraser, of("mid"))
    eraser._size = 1
    tally = eraser.erase(of("mid"), items, Open(sends=3))
    assert tally.taken <= 3
    left = {key for _, key, _ in bucket.entries("tenant-mid/")}
    assert len(left) == 3
    assert not left & {json.loads(item.key)[0] for item in items[: tally.taken]}


def test_a_tenant_goes_and_its_twins_stay(bucket: Bucket, eraser: S3Eraser) -> None:
    for tenant in TWINS:
        plant(bucket, tenant, "al")
    bucket.put("tenant-1/readme")
    before = {t: bucket.entries(f"tenant-{t}/") for t in TWINS}
    assert len(before["17"]) == 17
    for index, tenant in enumerate(["1", "1*", "Ünï", "{user}"]):
        erased, _, locked = erase_all(eraser, of(tenant))
        assert (erased, locked) == (18 if tenant == "1" else 17, [])
        gone = set(["1", "1*", "Ünï", "{user}"][: index + 1])
        after = {t: bucket.entries(f"tenant-{t}/") for t in TWINS}
        assert after == {t: set() if t in gone else before[t] for t in TWINS}


def test_a_user_goes_with_what_rows_point_to_and_other_users_stay(bucket: Bucket, eraser: S3Eraser) -> None:
    for user in USERS:
        plant(bucket, "u", user)
    for key in ("imports/1.csv", "imports/1.csv.bak", "tenant-u/user-ali/borrowed", "tenant-u/shared"):
        bucket.put(key)
        bucket.put(key)
    bucket.begin("imports/1.csv")
    others = {u: bucket.entries(f"tenant-u/user-{u}/") for u in USERS if u != "al"}
    scope = of("u", "al", anchors={"s3_keys": ("imports/1.csv", "tenant-u/user-al/x", "imports/none")})
    erased, _, _ = erase_all(eraser, scope)
    assert erased == 17 + 3
    assert bucket.entries("tenant-u/user-al/") == set()
    assert {u: bucket.entries(f"tenant-u/user-{u}/") for u in others} == others
    assert {key for _, key, _ in bucket.entries("imports/")} == {"imports/1.csv.bak"}
    assert len(bucket.entries("tenant-u/shared")) == 2


def test_held_users_and_retained_categories_are_not_offered_for_erasure(
    bucket: Bucket, eraser: S3Eraser
) -> None:
    for user in ("held", "held2", "free"):
        bucket.put(f"tenant-s/user-{user}/a")
    names = [json.loads(item.key)[0] for item in found(eraser, of("s", spared_users=frozenset({"held"})))]
    assert names == ["tenant-s/user-free/a", "tenant-s/user-held2/a"]
    since = datetime.now(UTC) - timedelta(days=1)
    older = of("s", retained={"content": datetime.now(UTC) + timedelta(days=1)})
    assert {item.action for item in found(eraser, older)} == {Action.ERASE}
    for scope in (
        of("s", retained={"content": None}),
        of("s", retained={"content": since}),
        of("s", held_categories=frozenset({"content"})),
    ):
        assert {item.action for item in found(eraser, scope)} == {Action.RETAIN}
        assert list(eraser.shapes(scope)) == []


@pytest.mark.parametrize(
    "views", [(), (("versions", 5), ("current", 3))], ids=["by passes alone", "by other views"]
)
def test_keys_that_are_folders_of_other_keys_all_go(
    bucket: Bucket, eraser: S3Eraser, monkeypatch: pytest.MonkeyPatch, views: tuple[tuple[str, int], ...]
) -> None:
    monkeypatch.setattr(
        "lifecycle.systems.s3.eraser.FIRST", 4
    )  # at every page edge this server may drop an entry
    monkeypatch.setattr("lifecycle.systems.s3.eraser.VIEWS", views)
    for number in range(25):
        for key in (
            f"tenant-fold/user-u/{number}",
            f"tenant-fold/user-u/{number}/x",
            f"tenant-fold/user-u/{number}/x/y",
        ):
            bucket.put(key)
            bucket.put(key)
    erased, passes, _ = erase_all(eraser, of("fold", "u"))
    assert (erased, bucket.entries("tenant-fold/")) == (150, set())
    assert passes >= eraser.clean_passes + 1
    for number in range(0, 25, 5):
        assert bucket.entries(f"tenant-fold/user-u/{number}") == set()


def test_a_lock_is_named_with_its_date_and_never_skipped(locked_bucket: Bucket, datamap: DataMap) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    base = "tenant-1/user-al/"
    locked_bucket.put(base + "kept", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    locked_bucket.put(base + "held", ObjectLockLegalHoldStatus="ON")
    locked_bucket.put(base + "free")
    eraser = connect(locked_bucket.place, datamap)
    erased, _, locked = erase_all(eraser, of("1", "al"))
    eraser.close()
    assert erased == 1
    assert {(json.loads(one.item.key)[0], one.until) for one in locked} == {
        (base + "kept", until),
        (base + "held", None),
    }
    assert all(one.why.endswith(".") and "al" not in one.why.split() for one in locked)
    assert len(locked_bucket.entries(base)) == 2


def test_a_key_without_the_right_is_told_so(bucket: Bucket, datamap: DataMap) -> None:
    bucket.put("tenant-right/user-u/a")
    place = bucket.place | {"key": bucket.place["reader_key"], "secret": bucket.place["reader_secret"]}
    reader = connect(place, datamap)
    items = found(reader, of("right"))
    assert len(items) == 1
    with pytest.raises(Permanent, match="right to delete"):
        reader.erase(of("right"), items, Open())
    wrong = connect(place | {"secret": "wrong"}, datamap)
    with pytest.raises(Permanent):
        wrong.discover(of("right"), None)
    for each in (reader, wrong):
        each.close()
    assert len(bucket.entries("tenant-right/")) == 1
