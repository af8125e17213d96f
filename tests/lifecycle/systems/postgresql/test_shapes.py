"""Awkward shapes: foreign keys of others, tables without keys, cascades, composite keys, partitions, moved owners."""

from __future__ import annotations

import pytest

from lifecycle.datamap.loader import load
from lifecycle.systems.base import Item, Permanent
from tests.lifecycle.systems.postgresql.world import (
    MAP,
    OpenGate,
    World,
    erase_all,
    fill,
    found,
    hits,
    known,
    neighbours,
    scope,
    snapshot,
)


def mapped(*lines: str) -> str:
    """The sample map with more tables."""
    return MAP.replace("    users: {", "".join(f"    {line}\n" for line in lines) + "    users: {", 1)


@pytest.fixture
def small(bare: World) -> World:
    fill(bare, ("1", "17"), ("u-1", "u-12"))
    return bare


def test_others_rows_that_point_to_the_subjects_let_go_or_stop_the_erasure(small: World) -> None:
    small.run(
        "CREATE TABLE pins (id int PRIMARY KEY, tenant_id text, user_id text, document_id text REFERENCES documents);"
        "CREATE TABLE quotes (id int PRIMARY KEY, tenant_id text, user_id text, document_id text NOT NULL "
        "REFERENCES documents ON DELETE CASCADE)"
    )
    small.run("INSERT INTO pins VALUES (1, '1', 'u-12', '1/u-1/0'), (2, '1', 'u-1', '1/u-1/0')")
    small.datamap = load(
        mapped("pins: {tenant: tenant_id, user: user_id}", "quotes: {tenant: tenant_id, user: user_id}")
    )
    subject = known(small, "1", "u-1")
    before = neighbours(small.verifier(), subject)
    small.run("INSERT INTO quotes VALUES (1, '1', 'u-12', '1/u-1/1')")
    with pytest.raises(Permanent, match=r"table quotes .* point by document_id to rows of documents"):
        erase_all(small.eraser(), subject)
    assert small.one("SELECT count(*) FROM quotes") == 1
    small.run("DELETE FROM quotes")
    erase_all(small.eraser(), subject)
    assert small.run("SELECT id, document_id FROM pins") == [(1, None)]
    assert neighbours(small.verifier(), subject) == before


def test_children_that_arrive_after_the_discovery_go_with_their_parents(small: World) -> None:
    subject = known(small, "1", "u-1")
    eraser = small.eraser()
    items = found(eraser, subject)
    small.run("INSERT INTO chunks (document_id, position, body) VALUES ('1/u-1/0', 77, 'late')")
    small.run("INSERT INTO highlights (chunk_id, note) SELECT id, 'late' FROM chunks WHERE position = 77")
    eraser.erase(subject, items, OpenGate())
    assert small.one("SELECT count(*) FROM documents WHERE owner_id = 'u-1' AND tenant_id = '1'") == 0
    assert small.one("SELECT count(*) FROM chunks WHERE position = 77") == 0
    assert found(eraser, subject) == []


def test_a_row_that_changed_hands_is_not_touched(small: World) -> None:
    """Found as the subject's, somebody else's by the time of the batch: neither erased nor called residue."""
    subject = known(small, "1", "u-1")
    eraser = small.eraser()
    items = found(eraser, subject)
    small.run("UPDATE queries SET user_id = 'u-12' WHERE tenant_id = '1'")
    small.run("UPDATE documents SET owner_id = 'u-12' WHERE id = '1/u-1/0'")
    eraser.erase(subject, items, OpenGate())
    assert small.one("SELECT count(*) FROM queries WHERE tenant_id = '1'") == 2
    assert small.one("SELECT count(*) FROM chunks WHERE document_id = '1/u-1/0'") == 1
    assert small.one("SELECT count(*) FROM pg_largeobject_metadata") == 7
    assert small.verifier().remaining(subject, items) == []


def test_tables_without_keys_lose_exactly_the_subjects_rows(small: World) -> None:
    subject = known(small, "1", "u-1")
    eraser = small.eraser()
    items = [item for item in found(eraser, subject) if item.kind == "feedback"]
    assert len(items) == 2
    # Every other row gets a new place in the file: a place alone must never decide.
    small.run("INSERT INTO feedback SELECT tenant_id, user_id, 9, 'x' FROM generate_series(1, 300), users")
    small.run("DELETE FROM feedback WHERE score = 3 AND user_id = 'u-12'")
    small.run("VACUUM FULL feedback")
    assert eraser.erase(subject, items, OpenGate()).erased in (0, 2)
    assert small.one("SELECT count(*) FROM feedback WHERE (tenant_id, user_id) <> ('1', 'u-1')") == 902
    erase_all(eraser, subject)
    assert small.run("SELECT tenant_id, user_id, count(*) FROM feedback GROUP BY 1, 2 ORDER BY 1, 2") == [
        ("1", "u-12", 300),
        ("17", "u-1", 302),
        ("17", "u-12", 300),
    ]
    assert small.verifier().remaining(subject, items) == []


def test_composite_partitioned_and_numeric_tables(small: World) -> None:
    small.run(
        "CREATE TABLE visits (tenant_id text, user_id text, day date, page text, PRIMARY KEY (tenant_id, user_id, day)) "
        "PARTITION BY LIST (tenant_id); CREATE TABLE visits_1 PARTITION OF visits FOR VALUES IN ('1');"
        "CREATE TABLE visits_rest PARTITION OF visits DEFAULT;"
        "INSERT INTO visits SELECT t, u, date '2026-01-01' + d, 'home' FROM unnest('{1,17}'::text[]) t, "
        "unnest('{u-1,u-12}'::text[]) u, generate_series(1, 20) d;"
        "CREATE TABLE scores (tenant_id int, user_id bigint, score int, note text);"
        "INSERT INTO scores VALUES (1, 5, 1, ''), (17, 5, 2, ''), (1, 55, 3, '')"
    )
    small.datamap = load(
        mapped("visits: {tenant: tenant_id, user: user_id}", "scores: {tenant: tenant_id, user: user_id}")
    )
    subject = known(small, "1", "u-1")
    verifier = small.verifier()
    before = neighbours(verifier, subject)
    items = found(small.eraser(), subject)
    assert sum(item.kind == "visits" for item in items) == 20
    assert len(verifier.remaining(subject, items)) == len(items)
    assert any(hit.kind == "visits" and hit.belongs for hit in hits(verifier, subject))
    erase_all(small.eraser(), subject)
    assert small.run("SELECT tenant_id, user_id, count(*) FROM visits GROUP BY 1, 2 ORDER BY 1, 2") == [
        ("1", "u-12", 20),
        ("17", "u-1", 20),
        ("17", "u-12", 20),
    ]
    assert neighbours(verifier, subject) == before
    assert hits(verifier, subject) == []
    erase_all(small.eraser(), scope("1", "5"))
    assert small.run("SELECT score FROM scores ORDER BY 1") == [(2,), (3,)]


def test_an_officers_decision_erases_or_redacts_somebody_elses_row(small: World) -> None:
    subject = known(small, "1", "u-1")
    mail = subject.subject.mails[0]
    small.run("UPDATE chunks SET body = %s WHERE document_id LIKE '1/u-12/%%'", [f"ask {mail.upper()} soon"])
    erase_all(small.eraser(), subject)
    first, second = hits(small.verifier(), subject)
    assert (first.kind, first.needle, first.belongs) == ("chunks", "mail", False)
    eraser = small.eraser()
    assert eraser.redact(subject, Item(first.kind, first.key), OpenGate()).anonymised == 1
    small.run("DELETE FROM highlights")
    assert eraser.erase(subject, [Item(second.kind, second.key)], OpenGate()).erased == 1
    assert hits(small.verifier(), subject) == []
    assert small.run("SELECT body FROM chunks WHERE document_id LIKE '1/u-12/%'") == [("ask [erased] soon",)]


def test_a_large_object_that_names_the_subject_under_somebody_elses_row(small: World) -> None:
    """A mention: spared by the erasure itself, erased when the officer says so."""
    subject = known(small, "1", "u-1")
    oid = small.one("SELECT lo_from_bytea(0, %s)", [f"a letter to {subject.subject.mails[0]}".encode()])
    small.run("UPDATE documents SET original = %s WHERE id IN ('1/u-12/0', '1/u-1/0')", [oid])
    erase_all(small.eraser(), subject)
    seen = hits(small.verifier(), subject)
    # The letter, and the one original that no row points to any more.
    assert sorted((each.kind, each.belongs, each.needle) for each in seen) == [
        ("large_object", False, "id"),
        ("large_object", False, "mail"),
    ]
    decided = [Item(each.kind, each.key) for each in seen]
    assert small.eraser().erase(subject, decided, OpenGate()).erased == 2
    assert hits(small.verifier(), subject) == []


def test_nothing_changes_where_the_subject_has_nothing(small: World) -> None:
    before = snapshot(small)
    for stranger in (
        scope("1", "nobody"),
        scope("2"),
        scope("1", "u"),
        scope("1", "u-1%"),
        scope("_", "u-1"),
    ):
        assert found(small.eraser(), stranger) == []
        erase_all(small.eraser(), stranger)
    assert snapshot(small) == before
