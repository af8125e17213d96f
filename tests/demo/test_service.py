"""The sample service in both regions: what it refuses, whose writes it forwards, how it fails when it is told to."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg2
import pytest

from demo.platform import own_rows
from lifecycle.systems.postgresql.freeze import freeze_hash

EAST, WEST = "us-east-1", "us-west-2"
TENANT = "test-service"


@dataclass
class Regions:
    stack: dict[str, Any]

    def ask(
        self, region: str, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, Any]:
        """Status, JSON, headers."""
        parts = urlsplit(self.stack["regions"][region]["app"])
        with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)) as line:
            named = {"x-tenant": TENANT, "x-user": "ann"} | {
                k.replace("_", "-"): v for k, v in headers.items()
            }
            line.request(method, path, json.dumps(body) if body is not None else None, named)
            answer = line.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else text.decode(), answer.headers

    def put(self, region: str, text: str = "Some text", **headers: str) -> tuple[int, Any, Any]:
        return self.ask(region, "POST", "/documents", {"title": "T", "text": text}, **headers)

    def fault(self, region: str, **fault: Any) -> None:
        key = self.stack["trial_key"]
        method = "POST" if fault else "DELETE"
        assert self.ask(region, method, "/_faults", fault or None, x_trial_key=key)[0] == 200

    def say(self, region: str, statement: str, *values: Any) -> list[Any]:
        dsn = self.stack["regions"][region]["postgres"]
        with closing(psycopg2.connect(dsn)) as line, line, line.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def route(self, region: str, owner: str, lease: str = "infinity", soak: str = "fast") -> None:
        self.say(region, "DELETE FROM lifecycle.route WHERE tenant_id = %s", TENANT)
        if owner:
            self.say(
                region,
                "INSERT INTO lifecycle.route (tenant_id, owner, epoch, lease_until, other, soak, moving) "
                "VALUES (%s, %s, 1, %s, %s, %s, true)",
                TENANT,
                owner,
                lease,
                WEST if region == EAST else EAST,
                soak,
            )

    def documents(self, region: str) -> set[str]:
        return {row[0] for row in self.say(region, "SELECT id FROM documents WHERE tenant_id = %s", TENANT)}


@pytest.fixture(scope="module")
def regions(stack: dict[str, Any]) -> Iterator[Regions]:
    made = Regions(stack)
    for region in (EAST, WEST):
        own_rows.apply_schema(stack["regions"][region]["postgres"], region)
    yield made
    for region in (EAST, WEST):
        for document in made.documents(region):
            made.route(region, "")
            made.ask(region, "DELETE", f"/documents/{quote(document)}")
        for table in ("change", "applied", "probe", "route"):
            made.say(region, f"DELETE FROM lifecycle.{table} WHERE tenant_id = %s", TENANT)


@pytest.fixture(autouse=True)
def nothing_left_over(regions: Regions) -> Iterator[None]:
    for region in (EAST, WEST):
        regions.route(region, "")
    yield
    for region in (EAST, WEST):
        regions.fault(region)


def test_refuses_who_names_nobody_and_what_it_does_not_understand(regions: Regions) -> None:
    assert regions.ask(EAST, "POST", "/documents", {"title": "T", "text": "x"}, x_user="")[0] == 400
    assert regions.ask(EAST, "POST", "/documents", {"title": "T"})[0] == 400
    assert regions.ask(EAST, "GET", "/elsewhere")[0] == 404
    assert regions.ask(EAST, "DELETE", "/documents/doc-unknown")[0] == 404
    assert regions.ask(EAST, "POST", "/_faults", {"kind": "crash"}, x_trial_key="guessed")[0] == 403


def test_refuses_a_frozen_user_and_keeps_nothing(regions: Regions) -> None:
    regions.say(EAST, "INSERT INTO frozen_subjects (subject_hash) VALUES (%s)", freeze_hash(TENANT, "frozen"))
    try:
        before = regions.documents(EAST)
        assert regions.put(EAST, x_user="frozen")[0] == 403
        assert regions.ask(EAST, "POST", "/search", {"question": "?"}, x_user="frozen")[0] == 403
        assert regions.documents(EAST) == before
    finally:
        regions.say(
            EAST, "DELETE FROM frozen_subjects WHERE subject_hash = %s", freeze_hash(TENANT, "frozen")
        )


@pytest.mark.parametrize(
    ("owner", "lease", "soak"),
    [(EAST, "epoch", "fast"), (EAST, "infinity", "safe"), (WEST, "infinity", "fast")],
    ids=["lease over", "nobody confirms", "each says the other"],
)
def test_never_acknowledges_without_an_owner(regions: Regions, owner: str, lease: str, soak: str) -> None:
    regions.route(EAST, owner, lease, soak)
    regions.route(WEST, EAST)
    before = regions.documents(EAST) | regions.documents(WEST)
    began = time.monotonic()
    status, _, headers = regions.put(EAST)
    assert (status, headers["Retry-After"]) == (503, "1")
    assert 1.9 < time.monotonic() - began < 4.5
    assert regions.documents(EAST) | regions.documents(WEST) == before


def test_a_document_is_found_listed_and_deleted(regions: Regions) -> None:
    status, told, headers = regions.put(EAST, "A text about ferries")
    assert (status, told["region"], told["owner"]) == (201, EAST, EAST)
    mark = headers["x-last-write"]
    assert mark.startswith(f"{EAST}:")
    deadline = time.monotonic() + 10
    while told["id"] not in regions.ask(EAST, "POST", "/search", {"question": "A text about ferries"},
                                        x_last_write=mark)[1]["documents"]:  # fmt: skip
        assert time.monotonic() < deadline
    assert told["id"] in [each["id"] for each in regions.ask(EAST, "GET", "/documents")[1]["documents"]]
    ops = "SELECT store, op FROM lifecycle.change WHERE tenant_id = %s AND key LIKE %s ORDER BY seq"
    assert regions.say(EAST, ops, TENANT, f"%{told['id']}%") == [("s3", "put"), ("pinecone", "put")]
    assert regions.ask(EAST, "DELETE", f"/documents/{told['id']}")[0] == 200
    assert told["id"] not in regions.documents(EAST)
    assert regions.say(EAST, ops, TENANT, f"%{told['id']}%")[2:] == [("s3", "delete"), ("pinecone", "delete")]
    found = regions.ask(EAST, "POST", "/search", {"question": "A text about ferries"})[1]
    assert told["id"] not in found["documents"]


def test_a_write_that_arrives_elsewhere_is_kept_by_the_owner(regions: Regions) -> None:
    for region in (EAST, WEST):
        regions.route(region, WEST)
    before = regions.documents(EAST)
    status, told, headers = regions.put(EAST, "Kept in the west")
    assert (status, told["owner"], headers["x-region"]) == (201, WEST, EAST)
    assert regions.documents(EAST) == before
    assert told["id"] in regions.documents(WEST)
    # Read where it arrives, unless the caller's own last write is not here yet.
    listed = regions.ask(EAST, "GET", "/documents")[1]["documents"]
    assert told["id"] not in [each["id"] for each in listed]
    mine = regions.ask(EAST, "GET", "/documents", x_last_write=headers["x-last-write"])[1]["documents"]
    assert told["id"] in [each["id"] for each in mine]


def test_a_fence_of_a_moment_is_not_noticed(regions: Regions) -> None:
    regions.route(EAST, EAST, "epoch")
    later = threading.Timer(0.5, lambda: regions.route(EAST, EAST))
    later.start()
    assert regions.put(EAST)[0] == 201
    later.join()


def test_golden_answer_is_the_same_until_it_is_wrong(regions: Regions) -> None:
    first = regions.ask(EAST, "GET", f"/_golden?tenant={TENANT}")
    again = regions.ask(EAST, "GET", f"/_golden?tenant={TENANT}")
    assert (first[0], first[1]) == (200, again[1])
    assert regions.ask(EAST, "POST", f"/_golden?tenant={TENANT}")[0] == 200
    regions.fault(EAST, kind="wrong", tenant=TENANT)
    wrong = regions.ask(EAST, "GET", f"/_golden?tenant={TENANT}")
    assert wrong[0] == 200
    assert wrong[1] != first[1]
    regions.fault(EAST)
    assert regions.ask(EAST, "GET", f"/_golden?tenant={TENANT}")[1] == first[1]


def test_faults_and_what_prometheus_reads_of_them(regions: Regions) -> None:
    regions.fault(EAST, kind="errors", tenant="somebody-else")
    assert regions.ask(EAST, "GET", "/documents")[0] == 200
    regions.fault(EAST, kind="errors")
    assert regions.ask(EAST, "GET", "/documents")[0] == 500
    assert regions.ask(EAST, "GET", "/healthz")[0] == 200
    regions.fault(EAST)
    regions.fault(EAST, kind="latency", ms=300)
    began = time.monotonic()
    assert regions.ask(EAST, "GET", "/documents")[0] == 200
    assert time.monotonic() - began >= 0.3
    regions.fault(EAST)
    text = regions.ask(EAST, "GET", "/metrics")[1]
    assert f'rag_requests_total{{tenant="{TENANT}",region="{EAST}",kind="read",status="500"}} 1\n' in text
    assert f'rag_alive{{region="{EAST}"}} 1\n' in text
    assert f'rag_request_seconds_bucket{{tenant="{TENANT}",region="{EAST}",kind="read",le="+Inf"}}' in text


def test_a_hanging_service_goes_on_when_it_is_told(regions: Regions) -> None:
    regions.fault(WEST, kind="hang")
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(regions.ask(WEST, "GET", "/healthz")[0]))
    waiting.start()
    waiting.join(0.5)
    assert not answers
    regions.fault(WEST)
    waiting.join(10)
    assert answers == [200]


def test_a_forwarded_write_waits_no_longer_for_an_ill_region_once_it_is_owned_here(regions: Regions) -> None:
    for region in (EAST, WEST):
        regions.route(region, WEST)
    regions.fault(WEST, kind="hang")
    answers: list[tuple[int, Any, Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(regions.put(EAST)))
    waiting.start()
    waiting.join(0.5)
    assert not answers
    regions.route(EAST, EAST)
    waiting.join(2)  # the other region is given 4 s
    assert [(status, told["error"]) for status, told, _ in answers] == [
        (503, "The outcome is unknown: the owner's region did not answer.")
    ]
