"""The proof of `make demo` finds what it must find: a trace of the person, a changed neighbour, an invoice gone."""

import json

import pytest

from demo.platform.cast import full_name, mail
from demo.program import Failed
from demo.prove import TENANT, USER, _nowhere, _unchanged
from demo.reading import Record

PERSON, NEIGHBOUR = (TENANT, USER), (TENANT, "bob")


def _row(owner: tuple[str, str], table: str, **columns: object) -> Record:
    return Record("postgresql", owner, table, json.dumps({"tenant_id": owner[0], **columns}, sort_keys=True))


INVOICE = _row(PERSON, "invoices", id=1, user_id=USER, billed_to=full_name(TENANT, USER))
OBJECT = Record("s3", PERSON, f"tenant-{TENANT}/user-{USER}/doc-1 v1", "text")
MESSAGE = _row(PERSON, "messages", id=7, conversation_id=1, author_id=USER, reply_to=None)
REPLY = _row(NEIGHBOUR, "messages", id=8, conversation_id=1, author_id="bob", reply_to=7)
REPLY_AFTER = _row(NEIGHBOUR, "messages", id=8, conversation_id=1, author_id="bob", reply_to=None)
TWIN = Record("redis", ("1", USER), f"session:1:{USER}", f'{{"user_id": "{USER}"}}')
BEFORE = [INVOICE, OBJECT, MESSAGE, REPLY, TWIN]
AFTER = [INVOICE, REPLY_AFTER, TWIN]


@pytest.mark.parametrize(
    "trace",
    [
        Record("redis", NEIGHBOUR, f"online:{TENANT}", USER),
        Record("cloudwatch", ("", ""), "/shared 1", f"sent to {mail(TENANT, USER).upper()}"),
        Record("pinecone", ("other", "x"), "ns 1", f"by {full_name(TENANT, USER)}"),
        Record("datadog", ("", ""), "1", f"fetched tenant-{TENANT}/user-{USER}/doc-1"),
    ],
)
def test_any_trace_of_the_person_is_found(trace: Record) -> None:
    with pytest.raises(Failed, match="still stands"):
        _nowhere(BEFORE, [*AFTER, trace])


def test_an_invoice_that_a_statute_keeps_must_still_be_there() -> None:
    with pytest.raises(Failed, match="kept by statute"):
        _nowhere(BEFORE, [REPLY_AFTER, TWIN])


@pytest.mark.parametrize(
    "after",
    [
        [INVOICE, TWIN],
        [INVOICE, REPLY_AFTER],
        [INVOICE, REPLY_AFTER, Record("redis", TWIN.owner, TWIN.key, "other")],
        [*AFTER, Record("redis", NEIGHBOUR, f"session:{TENANT}:bob", "new")],
        [INVOICE, REPLY, TWIN],
    ],
    ids=["lost", "namesake lost", "altered", "new", "still points to the person"],
)
def test_a_changed_neighbour_is_found(after: list[Record]) -> None:
    with pytest.raises(Failed, match="changed"):
        _unchanged(BEFORE, after)


def test_a_clean_erasure_holds() -> None:
    assert _nowhere(BEFORE, AFTER) == {"invoices": 1}
    assert _unchanged(BEFORE, AFTER) == {"postgresql": 1, "redis": 1}
