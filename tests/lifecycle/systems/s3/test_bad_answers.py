"""Errors of single keys inside an answer of 200, throttling and half answers never count as deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import BatchOver, Item, Permanent, Scope, Subject, Transient
from lifecycle.systems.s3.eraser import S3Eraser, connect
from tests.lifecycle.systems.s3.proxy import Answer, Proxy
from tests.lifecycle.systems.s3.tools import Bucket, Open, found

SLOW = b"<Error><Code>SlowDown</Code></Error>"
Spoil = Callable[[str, bytes], Answer | None]


class Spoiler:
    """What the proxy does to the next deletions; `log` has the body of each."""

    def __init__(self) -> None:
        self.before: list[Answer | None] = []
        self.cut = False
        self.log: list[bytes] = []

    def on_request(self, path: str, body: bytes) -> Answer | None:
        if "delete=" not in path:
            return None
        self.log.append(body)
        return self.before.pop(0) if self.before else None

    def on_answer(self, path: str, answer: Answer) -> Answer:
        if self.cut and "delete=" in path:
            return answer[0], b"<DeleteResult><Error><Key>"
        return answer


@pytest.fixture
def spoiler() -> Spoiler:
    return Spoiler()


@pytest.fixture
def eraser(bucket: Bucket, datamap: DataMap, spoiler: Spoiler) -> Iterator[S3Eraser]:
    proxy = Proxy(bucket.place["endpoint"], spoiler.on_request, spoiler.on_answer)
    made = connect(bucket.place | {"endpoint": proxy.endpoint}, datamap)
    yield made
    made.close()
    proxy.close()


def planted(bucket: Bucket, eraser: S3Eraser, tenant: str) -> tuple[Scope, list[Item]]:
    for number in range(3):
        bucket.put(f"tenant-{tenant}/user-u/{number}")
    scope = Scope(Subject(tenant))
    items = found(eraser, scope)
    assert len(items) == 3
    return scope, items


def per_key(items: list[Item], *spoiled: int) -> Answer:
    import json

    errors = ""
    for number in spoiled:
        key, version = json.loads(items[number].key)
        errors += f"<Error><Key>{key}</Key><VersionId>{version}</VersionId><Code>InternalError</Code></Error>"
    return 200, f"<DeleteResult>{errors}</DeleteResult>".encode()


def test_a_request_that_expired_at_the_server_ends_the_batch_and_nothing_else(
    bucket: Bucket, eraser: S3Eraser, spoiler: Spoiler
) -> None:
    """AWS and SeaweedFS refuse it with the code of missing rights, before the batch is over by our own clock."""
    scope, items = planted(bucket, eraser, "expired")
    said = "<Error><Code>AccessDenied</Code><Message>{}</Message></Error>"
    spoiler.before = [(403, said.format("Request has expired").encode())]
    with pytest.raises(BatchOver):
        eraser.erase(scope, items, Open())
    spoiler.before = [(403, said.format("Access Denied.").encode())]
    with pytest.raises(Permanent):
        eraser.erase(scope, items, Open())
    assert len(bucket.entries("tenant-expired/")) == 3


def test_a_key_that_fails_inside_a_good_answer_is_sent_again(
    bucket: Bucket, eraser: S3Eraser, spoiler: Spoiler
) -> None:
    scope, items = planted(bucket, eraser, "again")
    spoiler.before = [per_key(items, 0, 1, 2)]
    tally = eraser.erase(scope, items, Open())
    assert (tally.taken, tally.erased, len(spoiler.log)) == (3, 3, 2)
    assert bucket.entries("tenant-again/") == set()


def test_a_key_that_fails_twice_is_not_taken_nor_is_what_follows_it(
    bucket: Bucket, eraser: S3Eraser, spoiler: Spoiler
) -> None:
    scope, items = planted(bucket, eraser, "twice")
    spoiler.before = [per_key(items, 1, 2), per_key(items, 1)]
    tally = eraser.erase(scope, items, Open())
    assert (tally.taken, tally.erased) == (1, 1)
    spoiler.before = [per_key(items, 0, 1, 2)] * 2
    with pytest.raises(Transient):
        eraser.erase(scope, items, Open())
    assert len(bucket.entries("tenant-twice/")) == 3
    assert eraser.erase(scope, items, Open()).taken == 3
    assert bucket.entries("tenant-twice/") == set()


def test_a_service_that_asks_for_patience_gets_it_within_the_batch(
    bucket: Bucket, eraser: S3Eraser, spoiler: Spoiler
) -> None:
    scope, items = planted(bucket, eraser, "slow")
    spoiler.before = [(503, SLOW), (503, SLOW)]
    assert eraser.erase(scope, items, Open()).taken == 3
    spoiler.before = [(503, SLOW)] * 9
    with pytest.raises(Transient):
        eraser.erase(scope, items, Open(seconds=2.2))
    assert len(spoiler.before) > 4


def test_half_an_answer_and_a_failing_service_leave_the_outcome_open(
    bucket: Bucket, eraser: S3Eraser, spoiler: Spoiler
) -> None:
    scope, items = planted(bucket, eraser, "half")
    spoiler.before = [(500, b"")]
    with pytest.raises(Transient):
        eraser.erase(scope, items, Open())
    assert len(bucket.entries("tenant-half/")) == 3
    spoiler.cut = True
    with pytest.raises(Transient):
        eraser.erase(scope, items, Open())
    spoiler.cut = False
    assert eraser.erase(scope, items, Open()).taken == 3  # they are gone: an idempotent repeat
    assert bucket.entries("tenant-half/") == set()
