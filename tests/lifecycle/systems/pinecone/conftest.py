"""A local Pinecone of the tests' own, whose reads lag behind its writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lifecycle.datamap.model import DataMap
from lifecycle.systems.pinecone.eraser import PineconeEraser
from lifecycle.systems.pinecone.eraser import connect as connect_eraser
from lifecycle.systems.pinecone.verifier import PineconeVerifier, connect
from tests.demo.servers.running import KEY, Running
from tests.lifecycle.systems.pinecone.tools import READER, Project


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("--reader-key", READER, "--lag-ms", "120", "--stats-lag-ms", "150")
    with Running("demo.servers.pinecone", tmp_path_factory.mktemp("pinecone"), *options) as running:
        yield running


@pytest.fixture
def project(server: Running) -> Iterator[Project]:
    made = Project(server, KEY)
    yield made
    made.close()


@pytest.fixture
def eraser(project: Project) -> Iterator[PineconeEraser]:
    made = connect_eraser(project.place, DataMap(1, "0"))
    yield made
    made.close()


@pytest.fixture
def verifier(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[PineconeVerifier]:
    monkeypatch.setattr("lifecycle.systems.pinecone.verifier.SETTLE", 0.4)
    made = connect({k: v for k, v in project.place.items() if k != "key"}, DataMap(1, "0"))
    yield made
    made.close()
