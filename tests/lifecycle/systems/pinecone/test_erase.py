"""The eraser takes every vector of exactly the subject, from whatever namespace and index, inside its gate."""

from __future__ import annotations

import json
import time

import pytest

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Action, BatchOver, Item, Permanent, Scope, Subject, Transient
from lifecycle.systems.pinecone import drift
from lifecycle.systems.pinecone.eraser import PineconeEraser, connect
from tests.lifecycle.systems.pinecone.tools import READER, Project, until
from tests.lifecycle.systems.s3.tools import Open, erase_all, found


def test_a_closed_gate_and_a_reader_key_delete_nothing(project: Project, eraser: PineconeEraser) -> None:
    project.user("shut", "al")
    project.settle()
    items = found(eraser, Scope(Subject("shut")))
    assert len(items) == 4
    with pytest.raises(BatchOver):
        eraser.erase(Scope(Subject("shut")), items, Open(sends=0))
    reader = connect(project.place | {"key": READER}, DataMap(1, "0"))
    with pytest.raises(Permanent, match="403"):
        reader.erase(Scope(Subject("shut")), items, Open())
    reader.close()
    project.settle()
    assert len(project.ids("tenant-shut")) == 4


def test_too_many_requests_are_waited_out_only_inside_the_batch(
    project: Project, eraser: PineconeEraser
) -> None:
    scope = Scope(Subject("busy"))
    project.user("busy", "al")
    project.settle()
    items = found(eraser, scope)
    project.server.trial(fail={"status": 429, "count": 1, "path": "/vectors/delete"})
    started = time.monotonic()
    with pytest.raises(BatchOver):
        eraser.erase(scope, items, Open(seconds=0.5))
    assert time.monotonic() - started < 0.9
    project.server.trial(fail={"status": 429, "count": 1, "path": "/vectors/delete"})
    assert eraser.erase(scope, items, Open()).taken == 4
    project.server.trial(fail={"status": 503, "count": 1, "path": "/vectors/delete"})
    with pytest.raises(Transient):
        eraser.erase(scope, items, Open())
    project.server.trial(fail={"status": 503, "count": 0, "path": ""})


def test_a_send_that_hangs_ends_with_the_batch(project: Project, eraser: PineconeEraser) -> None:
    scope = Scope(Subject("hang"))
    project.user("hang", "al")
    project.settle()
    items = found(eraser, scope)
    project.server.trial(hang_s=3, hang_path="/vectors/delete")
    started = time.monotonic()
    with pytest.raises(BatchOver):
        eraser.erase(scope, items, Open(seconds=0.5))
    assert time.monotonic() - started < 1
    project.server.trial(hang_s=0, hang_path="")


def test_a_user_goes_from_every_namespace_and_twins_stay(project: Project, eraser: PineconeEraser) -> None:
    for tenant in ("1", "17", "1*", "a_b"):
        for user in ("al", "ali"):
            project.user(tenant, user)
    documents = ("doc-1-al-0", "doc-1-al-1", "gone")
    # Twins by document id: `doc-1-al-0` beside `doc-1-al-0#x` and `doc-1-al-01`, owned by another user.
    project.put("tenant-1", "doc-1-al-0#x#0", tenant_id="1", user_id="ali", document_id="doc-1-al-0#x")
    project.put("tenant-1", "doc-1-al-01#0", tenant_id="1", user_id="ali", document_id="doc-1-al-01")
    project.put("tenant-1", "odd", user_id="al")
    project.put("tenant-1", "foreign", tenant_id="17", user_id="al")
    project.put("tenant-17", "stray", tenant_id="1", user_id="al")
    project.put("elsewhere", "stray2", tenant_id="1", user_id=["bo", "al"])
    project.put("", "stray3", tenant_id="1", user_id="al")
    project.put("elsewhere", "not", tenant_id="17", user_id="al")
    project.put("elsewhere", "nor", tenant_id="1", user_id="ali")
    project.settle()
    before = {
        ns: project.ids(ns) for ns in ("tenant-1", "tenant-17", "tenant-1*", "tenant-a_b", "elsewhere", "")
    }
    scope = Scope(Subject("1", "al"), anchors={"documents": documents})
    erased, passes, _ = erase_all(eraser, scope)
    assert (erased, passes) == (4 + 1 + 3, 3)
    after = {ns: project.ids(ns) for ns in before}
    gone = {ns: before[ns] - after[ns] for ns in before}
    assert gone == {
        "tenant-1": {"doc-1-al-0#0", "doc-1-al-0#1", "doc-1-al-1#0", "doc-1-al-1#1", "odd"},
        "tenant-17": {"stray"},
        "tenant-1*": set(),
        "tenant-a_b": set(),
        "elsewhere": {"stray2"},
        "": {"stray3"},
    }


def test_a_whole_tenant_goes_with_its_namespace_also_where_its_name_is_not_ascii(
    project: Project, eraser: PineconeEraser
) -> None:
    vectors = [{"id": f"d{number}#0", "values": [0.5] * 8} for number in range(260)]
    project.ask("POST", "/vectors/upsert", json={"namespace": "tenant-gr%C3%B6%C3%9Fe", "vectors": vectors})
    project.put("tenant-gr", "d#0", tenant_id="gr")
    project.put("tenant-gr", "d#1", tenant_id="größe", user_id="zoë")
    project.settle()
    assert erase_all(eraser, Scope(Subject("größe")))[0] == 261
    until(lambda: "tenant-gr%C3%B6%C3%9Fe" not in project.names())
    assert project.ids("tenant-gr") == {"d#0"}


def test_numbers_in_metadata_name_a_user_too(project: Project, eraser: PineconeEraser) -> None:
    for name, user in (("a", 42), ("b", "42"), ("c", 420), ("d", 4.2)):
        project.put("tenant-num", name, tenant_id="num", user_id=user)
    project.settle()
    assert erase_all(eraser, Scope(Subject("num", "42")))[0] == 2
    assert project.ids("tenant-num") == {"c", "d"}


def test_held_users_and_kept_categories_stay(project: Project, eraser: PineconeEraser) -> None:
    documents = project.user("held", "free")
    project.user("held", "kept")
    project.settle()
    kept = Scope(Subject("held"), retained={"content": None})
    assert {item.action for item in found(eraser, kept)} == {Action.RETAIN}
    assert list(eraser.shapes(kept)) == []
    scope = Scope(Subject("held"), spared_users=frozenset({"kept"}), anchors={"documents": documents})
    assert erase_all(eraser, scope)[0] == 4
    assert project.ids("tenant-held") == {
        "doc-held-kept-0#0",
        "doc-held-kept-0#1",
        "doc-held-kept-1#0",
        "doc-held-kept-1#1",
    }


def test_another_index_is_searched_and_named_by_the_drift_check(
    project: Project, eraser: PineconeEraser
) -> None:
    body = {
        "name": "second",
        "dimension": 8,
        "metric": "cosine",
        "spec": {"serverless": {"cloud": "aws", "region": "x"}},
    }
    url = project.ask("POST", "/indexes", json=body)["host"]
    project.put("tenant-two", "a#0", url, tenant_id="two", user_id="al")
    project.put("nobody", "b", url, tenant_id="one", user_id="al")
    until(lambda: project.ids("tenant-two", url) == {"a#0"})
    project.put("unheard-of", "x")
    project.settle()
    sentences = drift.unclassified(project.place, DataMap(1, "0"))
    assert any("'second'" in each for each in sentences)
    assert any("'unheard-of'" in each for each in sentences)
    assert not any("tenant-" in each for each in sentences)
    assert erase_all(eraser, Scope(Subject("two", "al")))[0] == 1
    assert (project.ids("tenant-two", url), project.ids("nobody", url)) == (set(), {"b"})
    project.ask("DELETE", "/indexes/second")
    assert found(eraser, Scope(Subject("two", "al"))) == []


def test_backups_stop_the_end_until_they_are_gone(project: Project, eraser: PineconeEraser) -> None:
    project.user("bak", "al")
    backup = project.ask("POST", "/indexes/rag/backups", json={"name": "nightly"})["backup_id"]
    project.settle()
    with pytest.raises(Permanent, match=backup):
        erase_all(eraser, Scope(Subject("bak", "al")))
    item = Item("backup", json.dumps(["rag", backup]))
    with pytest.raises(BatchOver):
        eraser.erase(Scope(Subject("bak", "al")), [item], Open(sends=0))
    assert eraser.erase(Scope(Subject("bak", "al")), [item], Open()).erased == 1
    assert eraser.erase(Scope(Subject("bak", "al")), [item], Open()).erased == 0
    assert eraser.finish(Scope(Subject("bak", "al")), Open()).detail["purge_within_days"] == 90
