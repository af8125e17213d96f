"""The load's ledger, and the search for what was acknowledged: it must find what somebody took away."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import psycopg2
import pytest
from botocore.config import Config
from pinecone import Pinecone

from demo.load import check
from demo.load.generator import Generator, Plan
from demo.load.ledger import Ledger, entries
from demo.load.summary import summary
from demo.platform import own_rows

TENANT = "test-load"


@pytest.fixture(scope="module")
def ledger(stack: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After three seconds of load."""
    own_rows.apply_schema(stack["regions"]["us-east-1"]["postgres"], "us-east-1")
    path = tmp_path_factory.mktemp("load") / "ledger.jsonl"
    written = Ledger(path)
    url = stack["regions"]["us-east-1"]["app"]
    Generator(Plan(url, TENANT, rate=20, seconds=3, deletes=0.15, threads=4), written).run()
    written.close()
    return path


def test_what_was_taken_away_is_missing(
    stack: dict[str, Any], ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(ledger, stack, TENANT, "us-east-1") == []
    kinds = {entry.kind for entry in entries(ledger)}
    assert kinds >= {"put", "delete", "search"}
    deleted = {entry.id for entry in entries(ledger) if entry.kind == "delete"}
    victims = [entry for entry in entries(ledger) if entry.acknowledged and entry.id not in deleted][:3]
    place = stack["regions"]["us-east-1"]
    with closing(psycopg2.connect(place["postgres"])) as line, line, line.cursor() as cursor:
        cursor.execute("UPDATE chunks SET body = body || '!' WHERE document_id = %s", [victims[0].id])
    store = place["s3"]
    boto3.client(
        "s3",
        endpoint_url=store["endpoint"],
        aws_access_key_id=store["key"],
        aws_secret_access_key=store["secret"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    ).delete_object(Bucket=store["bucket"], Key=f"tenant-{TENANT}/user-{victims[1].user}/{victims[1].id}")
    client: Any = Pinecone(api_key=place["pinecone"]["key"], host=place["pinecone"]["control_host"])
    client.index(host=place["pinecone"]["index_host"]).delete(
        ids=[f"{victims[2].id}#0"], namespace=f"tenant-{TENANT}"
    )
    monkeypatch.setattr("demo.load.checking.SETTLES", 2.0)
    missing = {(each.id, each.what) for each in check(ledger, stack, TENANT, "us-east-1")}
    expected = {(each.id, what) for each, what in zip(victims, ("row", "object", "vector"), strict=True)}
    assert missing - expected == set()
    assert expected - missing <= {(victims[2].id, "vector")}, "a deleted vector may still be read for a while"


def test_another_region_has_nothing_of_it(
    stack: dict[str, Any], ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.load.checking.SETTLES", 0.5)
    missing = check(ledger, stack, TENANT, "us-west-2")
    kept = {each.id for each in missing if each.what == "row"}
    assert {each.id for each in missing if each.what == "vector"} == kept != set()


def test_the_summary_counts_what_failed(tmp_path: Path, ledger: Path) -> None:
    said = summary(ledger)
    assert said["failed"] == 0
    assert said["requests"] >= 55
    path = tmp_path / "broken.jsonl"
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    path.write_text("".join(json.dumps(each | {"status": 503}) + "\n" for each in lines[:10]))
    assert summary(path)["failed"] == 10
