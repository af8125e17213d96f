"""The verifier sees what is left, in places that nobody classified too, and swears that others are unchanged."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from lifecycle.datamap.loader import load
from lifecycle.systems.base import Item, key_hash
from tests.lifecycle.systems.postgresql.world import (
    MAP,
    OpenGate,
    World,
    erase_all,
    found,
    hits,
    known,
    mail,
    neighbours,
    scope,
)

PLACES = {
    "text": ("INSERT INTO chunks (document_id, position, body) VALUES ('1/u-12/0', 9, %s)", "chunks"),
    "json": (
        "INSERT INTO audit_logs (tenant_id, actor_id, action, detail) VALUES ('17', 'u', 'x', %s)",
        "audit_logs",
    ),
    "bytea": ("INSERT INTO blobs VALUES (1, convert_to(%s, 'UTF8'), NULL)", "blobs"),
    "array": ("INSERT INTO blobs VALUES (2, NULL, ARRAY['x', %s])", "blobs"),
}
SPELLINGS: dict[str, Callable[[str], str]] = {
    "upper": lambda m: m.upper(),
    "url": lambda m: quote(m, safe=""),
    "base64": lambda m: base64.b64encode(f"to: {m};".encode()).decode(),
}


def test_a_mention_is_found_wherever_it_stands(bare: World) -> None:
    bare.run("CREATE TABLE blobs (id int PRIMARY KEY, data bytea, words text[])")
    bare.run(
        "INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256) "
        "VALUES ('1', '1/u-12/0', 'u-12', '', '', '')"
    )
    verifier = bare.verifier()
    for spell in SPELLINGS.values():
        for place, (statement, table) in PLACES.items():
            text = spell(mail("1", "u-1"))
            bare.run(statement, [json.dumps({"note": [text]}) if place == "json" else f"seen {text} here"])
            seen = hits(verifier, scope("1", "u-1"))
            assert [(hit.kind, hit.needle, hit.belongs) for hit in seen] == [(table, "mail", False)], (
                place,
                text,
            )
            assert hits(verifier, scope("1", "u-2")) == []
            bare.run(f"DELETE FROM {table}")


def test_nothing_is_left_of_an_erased_user(platform: World) -> None:
    subject = scope("1", "u-1")
    eraser, verifier = platform.eraser(), platform.verifier()
    known = scope("1", "u-1", anchors=eraser.anchors(subject))
    assert set(known.anchors["twins"]) >= {"u-1-2", "u-12"}
    assert "17" in known.anchors["namesakes"]
    assert known.anchors["documents"] == ("1/u-1/0", "1/u-1/1")
    assert known.anchors["s3_keys"] == ("tenant-1/user-u-1/0", "tenant-1/user-u-1/1")
    items = [item for item in found(eraser, known) if item.action != "retain"]
    assert len(verifier.remaining(known, items)) == len(items)
    assert any(hit.belongs for hit in hits(verifier, known))
    before = neighbours(verifier, known)
    erase_all(eraser, known)
    assert verifier.remaining(known, items) == []
    assert hits(verifier, known) == []
    assert neighbours(verifier, known) == before


@pytest.mark.parametrize("tenant", ["1", "1*", "a_b"])
def test_nothing_is_left_of_an_erased_tenant(platform: World, tenant: str) -> None:
    subject = scope(tenant)
    eraser, verifier = platform.eraser(), platform.verifier()
    items = found(eraser, subject)
    assert len(verifier.remaining(subject, items)) == len(items)
    assert {hit.kind for hit in hits(verifier, subject)} >= {"users", "documents", "feedback", "audit_logs"}
    before = neighbours(verifier, subject)
    erase_all(eraser, subject)
    assert verifier.remaining(subject, items) == []
    assert hits(verifier, subject) == []
    assert neighbours(verifier, subject) == before


def test_a_namesake_whose_account_is_gone_is_no_mention(platform: World) -> None:
    """Tenant 17's u-1 was erased but for an invoice, tenant a_b's is named by a grant alone: neither is ours."""
    platform.run("CREATE TABLE notes (chunk_id bigint, writer text)")
    text = MAP.replace(
        "    plans: {handling: keep}",
        "    notes: {via: {chunks: chunk_id}, user: writer, category: content}\n    plans: {handling: keep}",
    )
    platform.datamap = load(text)
    erase_all(platform.eraser(), known(platform, "17", "u-1", retained={"invoices": None}))
    for tenant in ("117", "1*", "a_b", "aXb", "Größe"):
        erase_all(platform.eraser(), known(platform, tenant, "u-1"))
    platform.run("UPDATE access_controls SET granted_by = 'u-1' WHERE tenant_id = 'a_b' AND user_id = 'u'")
    platform.run("INSERT INTO notes SELECT id, 'u-1' FROM chunks WHERE document_id = '117/u/0'")
    assert platform.run("SELECT DISTINCT tenant_id FROM users WHERE user_id = 'u-1'") == [("1",)]
    ours = known(platform, "1", "u-1")
    assert set(ours.anchors["namesakes"]) == {"17", "117", "a_b"}
    erase_all(platform.eraser(), ours)
    assert hits(platform.verifier(), ours) == []


def test_a_row_that_was_missed_is_residue(platform: World) -> None:
    subject = scope("1", "u-1")
    eraser = platform.eraser()
    erase_all(eraser, subject)
    platform.run("CREATE TABLE forgotten (tenant_id text, user_id text, note text)")
    platform.run("INSERT INTO forgotten VALUES ('1', 'u-1', 'x'), ('17', 'u-1', 'y'), ('1', 'u-12', 'z')")
    platform.run("INSERT INTO queries (tenant_id, user_id, body) VALUES ('1', 'u-1', 'late')")
    known = scope("1", "u-1", anchors=eraser.anchors(subject))
    seen = hits(platform.verifier(), known)
    assert sorted((hit.kind, hit.belongs) for hit in seen) == [("forgotten", True), ("queries", True)]
    items = [Item(hit.kind, hit.key) for hit in seen]
    fresh = platform.eraser()
    assert fresh.erase(known, items, OpenGate()).erased == 2
    assert platform.verifier().remaining(known, items) == []
    assert hits(platform.verifier(), known) == []
    assert platform.one("SELECT count(*) FROM forgotten") == 2


def test_a_lost_and_a_changed_neighbour_show(platform: World) -> None:
    subject = scope("1", "u-1")
    before = neighbours(platform.verifier(), subject)
    platform.run("DELETE FROM queries WHERE tenant_id = '17' AND user_id = 'u'")
    platform.run("UPDATE documents SET title = 'other' WHERE id = '1/u-12/0'")
    after = neighbours(platform.verifier(), subject)
    assert {entry.owner for entry in before - after} == {"17", "1/u-12"}
    assert {entry.key for entry in before} - {entry.key for entry in after} == {
        entry.key for entry in before - after if entry.owner == "17"
    }
    assert key_hash("documents", '["1/u-12/0"]') in {entry.key for entry in after - before}
