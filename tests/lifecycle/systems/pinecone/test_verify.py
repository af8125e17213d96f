"""The verifier sees every vector that is left, and tells the subject's own from what merely names the subject."""

from __future__ import annotations

import json
from typing import Any

from lifecycle.systems.base import Hit, Scope, Subject
from lifecycle.systems.pinecone.eraser import PineconeEraser
from lifecycle.systems.pinecone.verifier import PineconeVerifier
from tests.lifecycle.systems.pinecone.tools import Project, until
from tests.lifecycle.systems.s3.tools import Open, erase_all, found


def searched(verifier: PineconeVerifier, scope: Scope) -> list[Hit]:
    hits: list[Hit] = []
    cursor: Any = None
    while True:
        page = verifier.search(scope, cursor)
        hits += page.entries
        cursor = json.loads(json.dumps(page.cursor))
        if cursor is None:
            return hits


def names(hits: list[Hit], belongs: bool) -> set[tuple[str, str]]:
    return {tuple(json.loads(hit.key)[1:]) for hit in hits if hit.belongs is belongs}


def test_what_is_left_is_named_until_it_is_gone(
    project: Project, eraser: PineconeEraser, verifier: PineconeVerifier
) -> None:
    documents = project.user("left", "al")
    project.user("left", "alba")
    project.put("tenant-other", "stray", tenant_id="left", user_id="al")
    project.settle()
    for scope, count in (
        (Scope(Subject("left", "al"), anchors={"documents": documents}), 5),
        (Scope(Subject("left")), 4),
    ):
        items = found(eraser, scope)
        assert len(items) == count
        assert {each.key for each in verifier.remaining(scope, items)} == {each.key for each in items}
        assert {hit.key for hit in searched(verifier, scope) if hit.belongs} == {each.key for each in items}
        eraser.erase(scope, items, Open())
        assert verifier.remaining(scope, items) == []  # though reads lag
        assert erase_all(eraser, scope)[0] == 0
        assert searched(verifier, scope) == []


def test_others_who_name_the_subject_are_mentions_and_twins_are_not(
    project: Project, verifier: PineconeVerifier
) -> None:
    project.put("tenant-m", "1", tenant_id="m", user_id="bob", text="as alice1 said")
    project.put("tenant-m", "letter-to-alice1#0", tenant_id="m", user_id="bob")
    project.put("tenant-n", "2", tenant_id="n", user_id="cy", email="alice@example.org")
    project.put("tenant-n", "from-alice1#0", tenant_id="n", user_id="cy")
    project.put("tenant-m", "t1", tenant_id="m", user_id="alice12", text="me")
    project.put("tenant-m", "t2", tenant_id="m", user_id="Alice1", document_id="of-Alice1")
    project.put("tenant-n", "t3", tenant_id="n", user_id="alice1", text="my own")
    project.settle()
    scope = Scope(Subject("m", "alice1", mails=("alice@example.org",)))
    hits = searched(verifier, scope)
    assert names(hits, True) == set()
    expected = {
        ("tenant-m", "1"),
        ("tenant-m", "letter-to-alice1#0"),
        ("tenant-n", "2"),
        ("tenant-n", "from-alice1#0"),
    }
    assert names(hits, False) == expected
    assert all(hit.excerpt for hit in hits)


def test_every_canary_is_seen_until_it_is_erased_or_lifted(
    project: Project, eraser: PineconeEraser, verifier: PineconeVerifier
) -> None:
    documents = project.user("c", "al", 1)
    project.settle()
    scope = Scope(Subject("c", "al"), anchors={"documents": documents}, canaries=("mk1x", "mk2x", "mk3x"))
    shapes = eraser.shapes(scope)
    assert len(shapes) == 3
    pairs = list(zip(shapes, scope.canaries, strict=True))
    planted = [eraser.plant(scope, shape, marker) for shape, marker in pairs]
    assert [eraser.plant(scope, shape, marker) for shape, marker in pairs] == planted
    hits = searched(verifier, scope)
    assert all(any(one.marker in hit.key and hit.belongs for hit in hits) for one in planted)
    assert len(names(hits, True)) == 5
    eraser.lift(planted[2])
    until(lambda: "tenant-c.lifecycle-canary" not in project.names())
    assert erase_all(eraser, scope)[0] == 4
    assert searched(verifier, scope) == []
    assert list(eraser.shapes(Scope(Subject("c", "al")))) == [shapes[0], shapes[2]]


def test_bystanders_are_everybody_else_and_do_not_move(
    project: Project, eraser: PineconeEraser, verifier: PineconeVerifier
) -> None:
    documents = project.user("by", "al")
    project.user("by", "bo")
    project.put("tenant-by", "loose")
    project.user("by2", "al")
    project.put("tenant-by2", "stray", tenant_id="by", user_id="al")
    project.settle()
    scope = Scope(Subject("by", "al"), anchors={"documents": documents})

    def seen() -> list[tuple[str, bytes, bytes]]:
        return sorted((e.owner, e.key, e.content) for e in verifier.bystanders(scope))

    before = seen()
    mine = [owner for owner, _, _ in before if owner.startswith("by")]
    assert mine == ["by", "by", "by", "by/bo", "by/bo", "by2"]
    erase_all(eraser, scope)
    assert seen() == before
    project.ask(
        "POST", "/vectors/update", json={"id": "loose", "namespace": "tenant-by", "setMetadata": {"a": 1}}
    )
    project.settle()
    assert len(set(seen()) ^ set(before)) == 2
    ours = {"by", "by2", "by/bo"}
    assert {e.owner for e in verifier.bystanders(Scope(Subject("by")))} & ours == {"by2"}
    around = Scope(Subject("by"), spared_users=frozenset({"bo"}))
    assert {e.owner for e in verifier.bystanders(around)} & ours == {"by", "by2", "by/bo"}
