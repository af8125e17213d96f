"""What nobody classified is named, whatever it is; a complete map has no drift."""

from __future__ import annotations

from lifecycle.systems.postgresql.drift import unclassified
from tests.lifecycle.systems.postgresql.world import World

CASES = {
    "CREATE TABLE notes (id int)": "nobody classified table notes",
    "CREATE SCHEMA crm; CREATE TABLE crm.leads (id int)": "table crm.leads",
    "ALTER TABLE queries ADD contact_email text": "column queries.contact_email looks personal",
    'ALTER TABLE queries ADD "clientIp" text': "column queries.clientIp looks personal",
    "ALTER TABLE chunks ADD reviewed_by text": "column chunks.reviewed_by seems to name a user",
    "ALTER TABLE queries ADD attachment oid": "column queries.attachment may point to large objects",
    "CREATE MATERIALIZED VIEW busy AS SELECT 1 AS one": "materialised view busy",
    "CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
    "CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2)": "nobody classified table p.",
    "DROP TABLE feedback": "names table feedback, which does not exist",
    "ALTER TABLE invoices DROP billed_to": "names column invoices.billed_to, which does not exist",
}


def test_each_kind_of_drift_is_named_once(bare: World) -> None:
    assert unclassified(bare.place, bare.datamap) == []
    for number, (change, expected) in enumerate(CASES.items(), 1):
        bare.run(change)
        sentences = unclassified(bare.place, bare.datamap)
        assert len(sentences) == number
        assert sum(expected in sentence for sentence in sentences) == 1, sentences
