"""A bad data map is refused with a sentence that names the place; the sample map loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifecycle.datamap.drift import looks_personal, names_a_user
from lifecycle.datamap.loader import load
from lifecycle.datamap.model import Handling
from lifecycle.datamap.section import BadMap

SAMPLE = (Path(__file__).resolve().parents[3] / "demo" / "datamap.yaml").read_text()
START = "version: 1\ncategories: [content, logs, analytics, audit]\n"
BAD = {
    "[1, 2": "no valid YAML at line",
    "- a": "must be a YAML mapping",
    "version: one": "version must be a whole number",
    "version: 0": "version must be 1 or more",
    "version: 1\nversion: 2": "'version' stands twice, again in line 2",
    START + "postgres: {}": "postgres: no such entry",
    START + "postgresql: {tables: {users: {tenat: a}}}": "postgresql.tables.users.tenat: no such entry",
    START + "postgresql: {tables: {users: {}}}": "postgresql.tables.users: nothing leads to it",
    START + "postgresql: {tables: {a: {tenant: 5}}}": "postgresql.tables.a.tenant must be a text",
    START + "postgresql: {tables: {a: {tenant: t, handling: burn}}}": "a.handling: 'burn' is none of",
    START + "postgresql: {tables: {a: {tenant: t, category: gold}}}": "category 'gold' is not listed",
    START + "postgresql: {tables: {a: {via: {b: b_id}}}}": "a.via: table 'b' is not in the data map",
    START + "postgresql: {tables: {a: {via: {b: x}}, b: {via: {a: x}}}}": "it leads to itself",
    START
    + "postgresql: {tables: {a: {via: {b: x}}, b: {handling: keep}}}": "'b' is kept and leads to nobody",
    START + "postgresql: {tables: {a: {tenant: t, user: u, handling: anonymise}}}": "needs `set`",
    START
    + "postgresql: {tables: {a: {tenant: t, user: u, handling: anonymise, set: {x: null}}}}": "user column 'u'",
    START + "s3: {tenant_prefix: 'all/'}": "must hold {tenant}",
    START
    + "s3: {prefixes: [{template: '{tenant}/{usr}'}]}": "s3.prefixes[0].template: {usr} is no placeholder",
    START + "redis: {families: [{template: 'online:{tenant}', type: set, category: logs}]}": "needs `member`",
    START + "redis: {families: [{template: 'a:{tenant}', type: tree}]}": "'tree' is none of",
    START + "recipients: [{name: crm, subjects: [company]}]": "neither `user` nor `tenant`",
    START + "recipients: [{name: crm}, {name: crm}]": "'crm' stands there twice",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_map_is_refused_by_place(text: str) -> None:
    with pytest.raises(BadMap) as refused:
        load(text)
    assert BAD[text] in str(refused.value)


def test_the_sample_map_loads_and_comments_do_not_change_its_digest() -> None:
    datamap = load(SAMPLE)
    assert load("# a comment\n" + SAMPLE).digest == datamap.digest
    assert (
        load(SAMPLE.replace("category: usage, dated", "category: access, dated", 1)).digest != datamap.digest
    )
    tables = {table.name: table for table in datamap.relations.tables}
    assert tables["chunks"].via == (("documents", "document_id"),)
    assert tables["audit_logs"].handling is Handling.ANONYMISE
    assert dict(tables["audit_logs"].set)["ip"] is None


@pytest.mark.parametrize(
    "name", ["email", "contact_mail", "firstName", "client-ip", "billing_address", "user_agent"]
)
def test_personal_names(name: str) -> None:
    assert looks_personal(name)


@pytest.mark.parametrize(
    "name", ["title", "description", "zip_size", "shipment", "recipe", "name", "mailbox_count"]
)
def test_other_names(name: str) -> None:
    assert not looks_personal(name)
    assert not names_a_user(name)
    assert names_a_user("approved_by")
