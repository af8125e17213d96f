"""What must stay: records with a legal ground, a held user inside an erased tenant, and every row that those need."""

from __future__ import annotations

from datetime import UTC, datetime

from lifecycle.datamap.loader import load
from lifecycle.systems.base import Action
from tests.lifecycle.systems.postgresql.world import MAP, World, erase_all, found, hits, known, neighbours


def test_records_are_retained_by_their_date(platform: World) -> None:
    platform.run(
        "INSERT INTO invoices (tenant_id, user_id, amount_cents, billed_to, issued_at) VALUES ('1','u-1',7,'x','2001-05-05')"
    )
    kept = known(platform, "1", "u-1", retained={"invoices": datetime(2020, 1, 1, tzinfo=UTC)})
    items = [item for item in found(platform.eraser(), kept) if item.kind == "invoices"]
    assert sorted(item.action for item in items) == [Action.ERASE, Action.RETAIN]
    erase_all(platform.eraser(), kept)
    assert platform.run("SELECT amount_cents FROM invoices WHERE tenant_id = '1' AND user_id = 'u-1'") == [
        (5,)
    ]
    assert hits(platform.verifier(), kept) == []
    assert platform.verifier().remaining(kept, [i for i in items if i.action == Action.ERASE]) == []


def test_a_held_category_stays_with_the_rows_that_it_needs(platform: World) -> None:
    """Highlights are held: their chunks and documents stay, too, or the foreign keys would break."""
    changed = "highlights: {via: {chunks: chunk_id}, category: highlights}"
    text = MAP.replace("highlights: {via: {chunks: chunk_id}, category: content}", changed)
    platform.datamap = load(text.replace("categories: [", "categories: [highlights, "))
    platform.run(
        "DELETE FROM highlights h USING chunks c WHERE c.id = h.chunk_id AND c.document_id = '1/u-1/1'"
    )
    held = known(platform, "1", "u-1", held_categories=frozenset({"highlights"}))
    eraser = platform.eraser()
    items = found(eraser, held)
    assert {i.kind for i in items if i.action == Action.RETAIN} == {
        "highlights",
        "chunks",
        "documents",
        "large_object",
    }
    erase_all(eraser, held)
    assert platform.run("SELECT id FROM documents WHERE tenant_id = '1' AND owner_id = 'u-1'") == [
        ("1/u-1/0",)
    ]
    assert platform.one("SELECT count(*) FROM chunks WHERE document_id LIKE '1/u-1/%'") == 1
    assert platform.verifier().remaining(held, [i for i in items if i.action != Action.RETAIN]) == []
    assert hits(platform.verifier(), held) == []
    erase_all(platform.eraser(), known(platform, "1", "u-1"))
    assert platform.one("SELECT count(*) FROM chunks WHERE document_id LIKE '1/u-1/%'") == 0


def test_a_tenant_goes_around_a_held_user(platform: World) -> None:
    around = known(platform, "1", spared_users=frozenset({"u-1"}))
    verifier = platform.verifier()
    before = neighbours(verifier, around)
    mine = "FROM {} WHERE tenant_id = '1'"
    erase_all(platform.eraser(), around)
    assert platform.run("SELECT user_id " + mine.format("users")) == [("u-1",)]
    assert platform.one("SELECT count(*) " + mine.format("messages")) == 2
    assert platform.one("SELECT count(*) " + mine.format("conversations")) == 2
    assert platform.one("SELECT count(*) " + mine.format("queries")) == 1
    # What others shared with the held user stays, since the held user's own access rows point to it.
    assert platform.one("SELECT count(*) " + mine.format("documents")) == 2 + 4
    assert platform.one("SELECT count(*) " + mine.format("access_controls")) == 4
    assert hits(verifier, around) == []
    assert neighbours(verifier, around) == before
    assert found(platform.eraser(), around) == [
        i for i in found(platform.eraser(), around) if i.action == Action.RETAIN
    ]
