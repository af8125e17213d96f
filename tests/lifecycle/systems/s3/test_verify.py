"""The verifier sees what is left, whoever left it, and tells the subject's own from what merely names the subject."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Hit, Scope, Subject
from lifecycle.systems.cloudwatch.archive import PREFIX
from lifecycle.systems.s3 import drift
from lifecycle.systems.s3.eraser import S3Eraser
from lifecycle.systems.s3.eraser import connect as connect_eraser
from lifecycle.systems.s3.layout import OURS
from lifecycle.systems.s3.verifier import S3Verifier, connect
from tests.lifecycle.systems.s3.tools import Bucket, erase_all, found


@pytest.fixture
def eraser(bucket: Bucket, datamap: DataMap) -> Iterator[S3Eraser]:
    made = connect_eraser(bucket.place, datamap)
    yield made
    made.close()


@pytest.fixture
def verifier(bucket: Bucket, datamap: DataMap) -> Iterator[S3Verifier]:
    place = {k: v for k, v in bucket.place.items() if k not in ("key", "secret")}
    made = connect(place, datamap)
    yield made
    made.close()


def searched(verifier: S3Verifier, scope: Scope) -> list[Hit]:
    hits: list[Hit] = []
    cursor: Any = None
    while True:
        page = verifier.search(scope, cursor)
        hits += page.entries
        cursor = json.loads(json.dumps(page.cursor))
        if cursor is None:
            return hits


def names(hits: list[Hit], belongs: bool) -> set[str]:
    return {json.loads(hit.key)[0] for hit in hits if hit.belongs is belongs}


def test_what_is_left_is_named_item_by_item(bucket: Bucket, eraser: S3Eraser, verifier: S3Verifier) -> None:
    base = "tenant-left/user-al/"
    for name in ("a", "a/twin", "b*", "ü"):
        bucket.put(base + name)
        bucket.put(base + name)
    bucket.remove(base + "a")
    bucket.begin(base + "up")
    bucket.put("loose/al.csv")
    scope = Scope(Subject("left", "al"), anchors={"s3_keys": ("loose/al.csv",)})
    items = found(eraser, scope)
    assert len(items) == 11
    assert sorted(i.key for i in verifier.remaining(scope, items)) == sorted(i.key for i in items)
    assert {hit.key for hit in searched(verifier, scope) if hit.belongs} == {i.key for i in items}
    erase_all(eraser, scope)
    assert verifier.remaining(scope, items) == []
    assert searched(verifier, scope) == []


def test_a_key_outside_the_folders_is_looked_at_over_all_pages(
    bucket: Bucket, eraser: S3Eraser, verifier: S3Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifecycle.systems.s3.verifier.FLAT", 3)
    for number in range(8):
        bucket.put("pages/al.csv")
        bucket.begin("pages/al.csv")
        bucket.put(f"pages/al.csv-{number}")
        bucket.begin(f"pages/al.csv-{number}")
    scope = Scope(Subject("paged", "al"), anchors={"s3_keys": ("pages/al.csv",)})
    items = found(eraser, scope)
    assert len(items) == 16
    assert {item.key for item in verifier.remaining(scope, items)} == {item.key for item in items}


def test_others_who_name_the_subject_are_mentions_and_twins_are_not(
    bucket: Bucket, verifier: S3Verifier
) -> None:
    planted = {
        "tenant-m/user-bob/letter-from-alice1.txt": b"nothing",
        "tenant-m/user-bob/body.json": b'{"cc": "Alice@Example.ORG"}',
        "tenant-m/user-bob/old": b"alice1 was here",
        "tenant-m/notes": b"YWxpY2VAZXhhbXBsZS5vcmc=",
        "archive/tenant-m/user-alice1/doc": b"copy",
    }
    for key, body in planted.items():
        bucket.put(key, body)
    bucket.put("tenant-m/user-bob/old", b"clean now")
    bucket.put("tenant-m/user-bob/tagged", b"x", Tagging="seen-by=alice1")
    bucket.put("tenant-m/user-bob/meta", b"x", Metadata={"reviewer": "alice1"})
    for key in (
        "tenant-m/user-alice12/doc",
        "tenant-n/user-alice1/doc",
        "tenant-m/user-bob/malice1x",
        "tenant-mm/a",
    ):
        bucket.put(key, b"x")
    scope = Scope(Subject("m", "alice1", mails=("alice@example.org",)))
    hits = searched(verifier, scope)
    assert names(hits, True) == set()
    assert names(hits, False) == {*planted, "tenant-m/user-bob/tagged", "tenant-m/user-bob/meta"}
    assert all(hit.excerpt for hit in hits)


def test_every_canary_is_seen_until_it_is_erased_or_lifted(
    bucket: Bucket, eraser: S3Eraser, verifier: S3Verifier
) -> None:
    scope = Scope(Subject("c", "al"), canaries=tuple(f"mark{n}" for n in range(5)))
    shapes = eraser.shapes(scope)
    assert len(shapes) == 5
    planted = [
        eraser.plant(scope, shape, marker) for shape, marker in zip(shapes, scope.canaries, strict=True)
    ]
    again = [eraser.plant(scope, shape, marker) for shape, marker in zip(shapes, scope.canaries, strict=True)]
    assert again == planted
    assert len(bucket.entries("tenant-c/")) == 1 + 2 + 2 + 1 + 2
    for one in planted:
        assert any(one.marker in hit.key and hit.belongs for hit in searched(verifier, scope)), one.shape
    eraser.lift(planted[0])
    assert len(bucket.entries("tenant-c/")) == 7
    assert erase_all(eraser, scope)[0] == 7
    assert searched(verifier, scope) == []


def test_a_canary_in_somebody_elses_object_belongs_to_the_subject(
    bucket: Bucket, verifier: S3Verifier
) -> None:
    bucket.put("tenant-c/user-bob/quote", b"...markX...")
    hits = searched(verifier, Scope(Subject("c", "al"), canaries=("markX",)))
    assert names(hits, True) == {"tenant-c/user-bob/quote"}


def test_bystanders_are_everybody_else_and_do_not_move(
    bucket: Bucket, eraser: S3Eraser, verifier: S3Verifier
) -> None:
    for user in ("al", "al2"):
        for name in ("x", "x/y", "z"):
            bucket.put(f"tenant-by/user-{user}/{name}")
    bucket.put("tenant-by/shared")
    bucket.begin("tenant-by/user-al2/up")
    scope = Scope(Subject("by", "al"))
    before = sorted((e.owner, e.key, e.content) for e in verifier.bystanders(scope))
    mine = [e for e in before if e[0].startswith("by")]
    assert sorted(e[0] for e in mine) == ["by", "by/al2", "by/al2", "by/al2", "by/al2"]
    erase_all(eraser, scope)
    assert sorted((e.owner, e.key, e.content) for e in verifier.bystanders(scope)) == before
    bucket.put("tenant-by/user-al2/z", b"changed")
    assert sorted((e.owner, e.key, e.content) for e in verifier.bystanders(scope)) != before
    whole = [e.owner for e in verifier.bystanders(Scope(Subject("by")))]
    assert not any(owner.startswith("by") for owner in whole)
    around = [e.owner for e in verifier.bystanders(Scope(Subject("by"), spared_users=frozenset({"al2"})))]
    assert [owner for owner in around if owner.startswith("by")] == ["by/al2"] * 5


def test_many_bystanders_are_summed_up_by_owner(
    bucket: Bucket, verifier: S3Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifecycle.systems.s3.verifier.MANY", 2)
    for key in ("tenant-sum/user-a/1", "tenant-sum/user-a/2", "tenant-sum/user-b/1"):
        bucket.put(key)
    before = {e.owner: e for e in verifier.bystanders(Scope(Subject("other")))}
    assert {"sum/a", "sum/b"} <= set(before)
    bucket.put("tenant-sum/user-a/3")
    after = {e.owner: e for e in verifier.bystanders(Scope(Subject("other")))}
    assert {owner for owner in before if before[owner] != after[owner]} == {"sum/a"}


def test_what_the_map_does_not_know_is_named(bucket: Bucket, datamap: DataMap) -> None:
    bucket.put("tenant-x/y")
    bucket.put("exports/2026.csv")
    bucket.put("loose.txt")
    sentences = drift.unclassified(bucket.place, datamap)
    assert any("'exports/'" in sentence for sentence in sentences)
    assert any("at the top" in sentence for sentence in sentences)
    assert not any("tenant-x" in sentence for sentence in sentences)


def test_cleaned_logs_in_the_bucket_are_another_adapters(
    bucket: Bucket, verifier: S3Verifier, datamap: DataMap
) -> None:
    assert PREFIX in OURS
    bucket.put(f"{PREFIX}group/user-alice1.jsonl.zst", b"alice1")
    assert names(searched(verifier, Scope(Subject("m", "alice1"))), False).isdisjoint(
        {f"{PREFIX}group/user-alice1.jsonl.zst"}
    )
    assert not any(PREFIX in sentence for sentence in drift.unclassified(bucket.place, datamap))
