"""One local Pinecone for the tests of this folder, without lag unless a test asks for some."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pinecone import Pinecone

from tests.demo.servers.running import KEY, READER, Running

# msgspec, under the SDK, crashes the interpreter when two threads build a decoder at once.
SDK_LOCK = threading.Lock()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("--reader-key", READER, "--lag-ms", "0", "--stats-lag-ms", "0")
    with Running("demo.servers.pinecone", tmp_path_factory.mktemp("pinecone"), *options) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Running) -> Pinecone:
    with SDK_LOCK:
        made = Pinecone(api_key=KEY, host=server.url)
        made.indexes.describe("rag")
        return made


@pytest.fixture(scope="session")
def index(client: Pinecone) -> Any:
    with SDK_LOCK:
        made = client.index("rag")
        made.describe_index_stats()
        return made


@pytest.fixture
def ns() -> str:
    return f"tenant-{uuid.uuid4().hex[:8]}"
