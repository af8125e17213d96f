"""kill -9 in the middle of writes: after a restart nothing that was acknowledged is lost, nothing is half done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.demo.servers.running import KEY, Running, until

NS = "tenant-1"
BATCH = 50
WRITERS = 4
HEADERS = {"Api-Key": KEY}


@pytest.fixture
def pinecone(tmp_path: Path) -> Iterator[Running]:
    options = ("--lag-ms", "0", "--stats-lag-ms", "0")
    with Running("demo.servers.pinecone", tmp_path, *options) as running:
        yield running


def batch_ids(number: int) -> list[str]:
    return [f"doc{number:05d}#{part:02d}" for part in range(BATCH)]


def upsert(http: httpx.Client, number: int) -> None:
    vectors = [
        {"id": name, "values": [1.0, float(number), 0, 0, 0, 0, 0, 0], "metadata": {"batch": number}}
        for name in batch_ids(number)
    ]
    http.post("/vectors/upsert", json={"namespace": NS, "vectors": vectors}).raise_for_status()


def delete(http: httpx.Client, number: int) -> None:
    body = {"namespace": NS, "ids": batch_ids(number)}
    http.post("/vectors/delete", json=body).raise_for_status()


def listed(server: Running) -> set[str]:
    found: set[str] = set()
    query = {"namespace": NS, "limit": "100"}
    while True:
        page = server.http.get("/vectors/list", params=query, headers=HEADERS).raise_for_status().json()
        found |= {item["id"] for item in page["vectors"]}
        if "pagination" not in page:
            return found
        query["paginationToken"] = page["pagination"]["next"]


def kill_while(server: Running, work: Callable[[httpx.Client, int], None], kill_after: int) -> set[int]:
    """Let four clients do batch after batch; kill -9 once `kill_after` are acknowledged. Returns those that were."""
    acknowledged: set[int] = set()
    numbers = iter(range(10_000))
    lock = threading.Lock()

    def client(_: int) -> None:
        with httpx.Client(base_url=server.url, headers=HEADERS) as http:
            while True:
                with lock:
                    number = next(numbers)
                try:
                    work(http, number)
                except httpx.TransportError:
                    return
                with lock:
                    acknowledged.add(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        running = [pool.submit(client, each) for each in range(WRITERS)]
        until(lambda: len(acknowledged) >= kill_after)
        server.kill()
        for future in running:
            future.result(30)
    return acknowledged


def test_no_acknowledged_upsert_is_lost_and_none_is_half_there(pinecone: Running) -> None:
    for kill_after in (3, 11, 24):
        acknowledged = kill_while(pinecone, upsert, kill_after)
        pinecone.start()
        found = listed(pinecone)
        for number in acknowledged:
            assert found.issuperset(batch_ids(number)), "an acknowledged batch is incomplete after kill -9"
        extra = found - {name for number in acknowledged for name in batch_ids(number)}
        batches = {int(name[3:8]) for name in extra}
        assert extra == {name for number in batches for name in batch_ids(number)}, "a batch is half there"
        sample = {"namespace": NS, "id": batch_ids(max(acknowledged))[0], "topK": 1, "includeMetadata": True}
        match = pinecone.http.post("/query", json=sample, headers=HEADERS).json()["matches"][0]
        assert match["metadata"] == {"batch": max(acknowledged)}


def test_no_acknowledged_delete_comes_back_and_the_trash_has_what_went(pinecone: Running) -> None:
    with httpx.Client(base_url=pinecone.url, headers=HEADERS) as http:
        for number in range(60):
            upsert(http, number)

    def delete_or_stop(http: httpx.Client, number: int) -> None:
        if number >= 60:
            raise httpx.ReadError("Every batch has been deleted before the kill.")
        delete(http, number)

    pinecone.trial(hang_s=0.05, hang_path="/vectors/delete")  # so that the kill comes before the last batch
    acknowledged = kill_while(pinecone, delete_or_stop, 20)
    assert len(acknowledged) < 60, "the server was not killed in the middle"
    pinecone.start()
    found = listed(pinecone)
    for number in acknowledged:
        assert found.isdisjoint(batch_ids(number)), "a deleted batch came back after kill -9"
    batches = {int(name[3:8]) for name in found}
    assert found == {name for number in batches for name in batch_ids(number)}, "a batch is half deleted"
    trash = (pinecone.state / "trash.jsonl").read_text()
    assert all(f'"{batch_ids(number)[0]}"' in trash for number in acknowledged)
    assert sequence_number(pinecone) >= 60 + len(acknowledged)


def sequence_number(server: Running) -> int:
    answer = server.http.get("/vectors/list", params={"namespace": NS}, headers=HEADERS)
    return int(answer.headers["x-pinecone-max-indexed-lsn"])


def test_indexes_backups_and_namespaces_survive(pinecone: Running) -> None:
    http = pinecone.http

    def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = http.request(method, path, json=body, headers=HEADERS).raise_for_status()
        return answer.json() if answer.content else None

    upsert_vectors = [{"id": "a", "values": [1.0] * 8}]
    call("POST", "/vectors/upsert", {"namespace": NS, "vectors": upsert_vectors})
    call("POST", "/namespaces", {"name": "empty"})
    place = {"serverless": {"cloud": "aws", "region": "us-east-1"}}
    second = call("POST", "/indexes", {"name": "second", "dimension": 2, "spec": place})
    httpx.post(f"{second['host']}/vectors/upsert", json={"vectors": [{"id": "b", "values": [1, 2]}]},
               headers=HEADERS).raise_for_status()  # fmt: skip
    backup = call("POST", "/indexes/rag/backups", {"name": "nightly"})["backup_id"]
    call("PATCH", "/indexes/second", {"deletion_protection": "enabled"})
    pinecone.restart()
    assert [item["name"] for item in call("GET", "/namespaces")["namespaces"]] == ["empty", NS]
    assert call("GET", f"/backups/{backup}")["record_count"] == 1
    again = call("GET", "/indexes/second")
    assert again["deletion_protection"] == "enabled"
    stored = httpx.get(f"{again['host']}/vectors/list", headers=HEADERS).json()["vectors"]
    assert stored == [{"id": "b"}]
    call("DELETE", "/indexes/rag")
    pinecone.restart()
    assert [index["name"] for index in call("GET", "/indexes")["indexes"]] == ["second"]
