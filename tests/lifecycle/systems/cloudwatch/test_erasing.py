"""Streams are rewritten without the subject's lines; nobody else loses one, whatever interrupts."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle.systems.base import Action, BatchOver, Item, Transient
from lifecycle.systems.cloudwatch import eraser as eraser_module
from lifecycle.systems.cloudwatch import rewriting
from lifecycle.systems.cloudwatch.archive import unpack
from lifecycle.systems.cloudwatch.drift import unclassified
from lifecycle.systems.cloudwatch.eraser import CloudWatchEraser
from lifecycle.systems.cloudwatch.service import Service
from lifecycle.systems.cloudwatch.verifier import CloudWatchVerifier
from tests.lifecycle.systems.cloudwatch.conftest import BUCKET
from tests.lifecycle.systems.cloudwatch.parts import (
    DAY,
    MAP,
    Logs_,
    Open,
    discover,
    entries,
    erase,
    erase_all,
    line,
    now,
    search,
    user,
    whole,
)

GROUP, LAMBDA = "/ecs/tenant-1", "/aws/lambda/tenant-1"
Archived = Callable[[], list[tuple[str, str]]]


def seed_twins(logs: Logs_) -> int:
    """Lines of users in every group of twins, some old; tenant 1's in two streams each."""
    at = now() - 20 * 60_000
    for tenant in ("1", "17", "1*", "a_b"):
        for group in (f"/ecs/tenant-{tenant}", f"/aws/lambda/tenant-{tenant}"):
            for stream in ("app/a", "app/b") if tenant == "1" else ("app/a",):
                events = [
                    (at - age * DAY - n, line(name, n))
                    for n, name in enumerate(("u-1", "u-12", "u-1", "u*"))
                    for age in (0, 20)
                ]
                logs.write(group, stream, *sorted(events))
    logs.write("/shared/gateway", "all", (at, line("u-1", tenant_id="1")), (at, line("u-1", tenant_id="17")))
    return at


def everything(logs: Logs_, s3: Any, archived: Archived) -> dict[str, Counter[tuple[int, str]]]:
    found = {group: logs.read(group) for group in logs.groups()}
    for key, version in archived():
        group = "/" + key.split("/")[1].replace("%2F", "/").removeprefix("/").replace("%2A", "*")
        body = s3.get_object(Bucket=BUCKET, Key=key, VersionId=version)["Body"]
        found.setdefault(group, Counter()).update((each.timestamp, each.message) for each in unpack(body))
    return found


def test_one_user_goes_and_every_other_line_stays(
    logs: Logs_, eraser: CloudWatchEraser, verifier: CloudWatchVerifier, s3: Any, archived: Archived
) -> None:
    at = seed_twins(logs)
    logs.write(
        GROUP, "app/a", (at, line("u-12", text="asked u-1 twice")), (at, "plain text that names user u-1")
    )
    logs.client.put_retention_policy(logGroupName=GROUP, retentionInDays=60)
    namesakes = {"namesakes": ("17", "1*", "a_b")}  # their users of the same id
    before, scope = everything(logs, s3, archived), user("1", "u-1", anchors=namesakes)
    others = entries(verifier, scope)
    manifest = erase_all(eraser, scope)
    assert len(manifest) == 2 * 2 * 4 + 1
    after = everything(logs, s3, archived)
    for group in before:
        mine = {e for e in before[group] if group in (GROUP, LAMBDA) and '"user_id": "u-1"' in e[1]}
        mine |= {e for e in before[group] if group == "/shared/gateway" and '"tenant_id": "1"' in e[1]}
        assert after[group] == Counter({e: n for e, n in before[group].items() if e not in mine}), group
    assert verifier.remaining(scope, manifest) == []
    assert entries(verifier, scope) == others
    hits = search(verifier, scope)
    assert len(hits) == 2
    assert not any(hit.belongs for hit in hits)
    assert logs.client.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"][0]["retentionInDays"] == 60
    assert all(key.startswith("logs-archive/%2F") for key, _ in archived())


def test_a_whole_tenant_goes_and_no_twin(
    logs: Logs_, eraser: CloudWatchEraser, verifier: CloudWatchVerifier, s3: Any, archived: Archived
) -> None:
    seed_twins(logs)
    erase_all(eraser, user("1", "u-1"))  # leaves archives
    before, scope = everything(logs, s3, archived), whole("1")
    others = entries(verifier, scope)
    manifest = erase_all(eraser, scope)
    after = everything(logs, s3, archived)
    assert GROUP not in after
    assert LAMBDA not in after
    assert {g: after[g] for g in after} == {g: before[g] for g in before if g not in (GROUP, LAMBDA)}
    assert verifier.remaining(scope, manifest) == []
    assert search(verifier, scope) == []
    assert entries(verifier, scope) == others


def test_a_held_users_lines_are_spared_and_retained_ones_marked(
    logs: Logs_, eraser: CloudWatchEraser
) -> None:
    at = now()
    logs.write(GROUP, "app/a", (at, line("u-1")), (at, line("u-12")), (at, "boot"))
    kept = discover(eraser, whole("1", retained={"logs": None}))
    assert {item.action for item in kept} == {Action.RETAIN}
    erase_all(eraser, whole("1", spared_users=frozenset({"u-12"})))
    assert list(logs.read(GROUP)) == [(at, line("u-12"))]


def test_an_archive_that_holds_the_subject_is_rewritten_with_all_its_versions(
    logs: Logs_, eraser: CloudWatchEraser, s3: Any, archived: Archived
) -> None:
    old = now() - 30 * DAY
    logs.write(GROUP, "app/a", (old, line("u-1")), (old, line("u-2")), (old, line("u-3")))
    erase_all(eraser, user("1", "u-1"))
    ((key, first),) = archived()
    erase_all(eraser, user("1", "u-2"))
    ((again, second),) = archived()
    assert again == key
    assert second != first
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"]
    assert [each.message for each in unpack(body)] == [line("u-3")]
    erase_all(eraser, user("1", "u-3"))
    assert archived() == []


def test_a_stream_named_after_the_user_loses_its_name(
    logs: Logs_, eraser: CloudWatchEraser, verifier: CloudWatchVerifier
) -> None:
    at = now()
    logs.write(GROUP, "session/u-123456/web", (at, line("u-2")), (at, line("u-123456")))
    scope = user("1", "u-123456")
    assert {item.kind for item in erase_all(eraser, scope)} == {"log_stream", "log_event"}
    (name,) = logs.streams(GROUP)
    assert "u-123456" not in name
    assert list(logs.read(GROUP)) == [(at, line("u-2"))]
    assert search(verifier, scope) == []


def test_lines_that_come_while_it_is_rewritten_are_not_lost(
    logs: Logs_, eraser: CloudWatchEraser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "QUIET", 1.0)
    at = now() - 60_000
    logs.write(GROUP, "app/a", *[(at + n, line("u-1" if n % 10 == 0 else "u-2", n)) for n in range(500)])
    writing, sent = threading.Event(), []

    def write() -> None:
        for number in range(60):
            event = (now() + number, line("u-2", 10_000 + number))
            if number == 30:
                event = (at - 5_000, line("u-2", 10_000 + number))  # late, and older than all
            logs.write(GROUP, "app/a", event)
            sent.append(event)
            writing.set()
            time.sleep(0.01)

    scope = user("1", "u-1")
    items = discover(eraser, scope)
    writer = threading.Thread(target=write)
    writer.start()
    writing.wait(5)
    erase(eraser, scope, items)
    writer.join()
    found = logs.read(GROUP)
    assert all(found[event] == 1 for event in sent)
    assert sum(found.values()) == 450 + 60


def test_an_interrupted_rewriting_begins_again_without_doubles(
    logs: Logs_, place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, old = now() - 60_000, now() - 20 * DAY
    logs.write(
        GROUP,
        "app/a",
        *[(t, line("u-1" if n % 3 == 0 else "u-2", n)) for n in range(90) for t in (at + n, old + n)],
    )
    expected = Counter({e: n for e, n in logs.read(GROUP).items() if '"user_id": "u-2"' in e[1]})
    scope, real = user("1", "u-1"), Service.delete_stream
    deleted: list[str] = []

    def crash(self: Service, group: str, stream: str, gate: Any) -> bool:
        deleted.append(stream)
        if stream == "app/a" and deleted.count("app/a") < 3:
            raise Transient("the worker is killed right before the source goes")
        return real(self, group, stream, gate)

    monkeypatch.setattr(Service, "delete_stream", crash)
    for _ in range(2):
        eraser = eraser_module.connect(place, MAP)
        with pytest.raises(Transient):
            erase(eraser, scope, discover(eraser, scope))
        assert logs.read(GROUP)[(at, line("u-1", 0))] == 1
    eraser = eraser_module.connect(place, MAP)
    archives = len(discover(eraser, user("1", "u-2"))) - 120  # the copies count twice until the source goes
    assert archives >= 0
    erase_all(eraser, scope)
    monkeypatch.undo()
    found = discover(eraser, user("1", "u-2"))
    assert len(found) == sum(expected.values()) == 120
    assert len({item.key for item in found}) == 120
    assert logs.streams(GROUP)[0].startswith("app/a.cleaned-")


def test_no_source_goes_when_the_copy_was_rejected_or_differs(
    logs: Logs_, eraser: CloudWatchEraser, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now()
    logs.write(GROUP, "app/a", (at, line("u-1")), (at, line("u-2")))
    real = Service.put
    monkeypatch.setattr(
        Service, "put", lambda self, group, stream, lines: real(self, group, stream, lines[1:])
    )
    with pytest.raises(Transient, match="does not equal"):
        erase(eraser, user("1", "u-1"), discover(eraser, user("1", "u-1")))
    assert "app/a" in logs.streams(GROUP)
    monkeypatch.undo()
    monkeypatch.setattr("lifecycle.systems.cloudwatch.rewriting.OLDEST_MS", 90 * DAY)
    logs.write(GROUP, "app/b", (at - 60 * DAY, line("u-2")), (at, line("u-1")))
    with pytest.raises(Transient, match="rejected"):
        erase_all(eraser, user("1", "u-1"))
    assert logs.read(GROUP)[(at - 60 * DAY, line("u-2"))] == 1


def test_old_lines_without_an_archive_bucket_are_an_error(logs: Logs_, place: dict[str, str]) -> None:
    logs.write(GROUP, "app/a", (now() - 30 * DAY, line("u-2")), (now(), line("u-1")))
    poor = eraser_module.connect({"endpoint": place["endpoint"], "region": place["region"]}, MAP)
    with pytest.raises(Exception, match="archive bucket"):
        erase_all(poor, user("1", "u-1"))
    assert logs.streams(GROUP) == ["app/a"] or sum(logs.read(GROUP).values()) >= 2


def test_nothing_is_sent_after_the_deadline_and_a_long_rewriting_goes_on_in_the_next_batch(
    logs: Logs_, eraser: CloudWatchEraser
) -> None:
    at = now() - 3_600_000
    logs.write(GROUP, "app/a", *[(at + n, line("u-1" if n % 4 == 0 else "u-2", n)) for n in range(24_000)])
    scope = user("1", "u-1")
    items = discover(eraser, scope)
    assert len(items) == 6_000
    with pytest.raises(BatchOver):
        eraser.erase(whole("17"), [Item("log_group", json.dumps([GROUP]))], Open(0.0))
    calls = 1
    while not (tally := eraser.erase(scope, items, Open(1.2))).taken:
        assert tally.detail["working"]
        calls += 1
    assert calls > 1
    assert sum(logs.read(GROUP).values()) == 18_000


def test_a_chosen_mention_is_erased_or_blotted_alone(
    logs: Logs_, eraser: CloudWatchEraser, verifier: CloudWatchVerifier
) -> None:
    at, scope = now(), user("1", "u-123456")
    logs.write(
        GROUP,
        "app/a",
        (at, line("u-2", text="call u-123456 back")),
        (at, line("u-2", text="see u-123456 now")),
        (at, "x"),
    )
    first, second = search(verifier, scope)
    erase(eraser, scope, [Item(first.kind, first.key)])
    while not eraser.redact(scope, Item(second.kind, second.key), Open()).taken:
        pass
    assert sorted(logs.read(GROUP)) == sorted([(at, "x"), (at, line("u-2", text="see [erased] now"))])


@pytest.mark.parametrize("make", [lambda **m: user("1", "u-1", **m), lambda **m: whole("1", **m)])
def test_every_canary_is_seen_then_erased_and_can_be_lifted(
    logs: Logs_, eraser: CloudWatchEraser, verifier: CloudWatchVerifier, archived: Archived, make: Any
) -> None:
    seed_twins(logs)
    before, scope = {group: logs.read(group) for group in logs.groups()}, make()
    shapes = eraser.shapes(scope)
    assert len(shapes) == (5 if scope.subject.user else 4)
    markers = [f"canary0123456789abcdef01234{number}" for number in range(len(shapes))]
    planted = [eraser.plant(scope, shape, marker) for shape, marker in zip(shapes, markers, strict=True)]
    for shape, marker in zip(shapes, markers, strict=True):
        eraser.plant(scope, shape, marker)
    hits = search(verifier, make(canaries=tuple(markers)))
    seen = {m for m in markers for h in hits if h.needle == "canary" and m in h.excerpt + h.key}
    assert seen == set(markers)
    for each in planted:
        eraser.lift(each)
    assert {group: logs.read(group) for group in logs.groups()} == before
    assert archived() == []
    for shape, marker in zip(shapes, markers, strict=True):
        eraser.plant(scope, shape, marker)
    erase_all(eraser, make(canaries=tuple(markers)))
    assert [hit for hit in search(verifier, make(canaries=tuple(markers))) if hit.needle == "canary"] == []


def test_a_group_that_nobody_classified_is_drift(logs: Logs_, place: dict[str, str]) -> None:
    for group in ("/ecs/tenant-1", "/shared/gateway", "/ecs/tenant-1/debug", "/new"):
        logs.client.create_log_group(logGroupName=group)
    assert unclassified(place, MAP) == [
        "Log group /ecs/tenant-1/debug is not in the data map.",
        "Log group /new is not in the data map.",
    ]
