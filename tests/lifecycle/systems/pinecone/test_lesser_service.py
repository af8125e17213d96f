"""Services that tell less: no lookup by metadata, no log sequence numbers."""

from __future__ import annotations

import json

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Scope, Subject
from lifecycle.systems.pinecone.eraser import PineconeEraser, connect
from lifecycle.systems.pinecone.verifier import PineconeVerifier
from tests.lifecycle.systems.pinecone.tools import Project
from tests.lifecycle.systems.s3.proxy import Proxy
from tests.lifecycle.systems.s3.tools import erase_all, found


def test_without_lookup_by_metadata_every_vector_is_read(
    project: Project, eraser: PineconeEraser, verifier: PineconeVerifier
) -> None:
    documents = project.user("old", "al")
    project.user("old", "bo")
    project.put("tenant-older", "stray", tenant_id="old", user_id="al")
    project.put("tenant-older", "own", tenant_id="older", user_id="al")
    project.settle()
    scope = Scope(Subject("old", "al"), anchors={"documents": documents})
    project.server.trial(fail={"status": 400, "count": 100_000, "path": "fetch_by_metadata"})
    items = found(eraser, scope)
    assert len(items) == 5
    hits = [hit for hit in verifier.search(scope, None).entries if hit.belongs]
    assert {hit.key for hit in hits} == {item.key for item in items}
    assert erase_all(eraser, scope)[0] == 5
    project.server.trial(fail={"status": 400, "count": 0, "path": ""})
    assert (len(project.ids("tenant-old")), project.ids("tenant-older")) == (4, {"own"})


def test_without_sequence_numbers_a_pass_waits_until_the_deleted_is_out_of_sight(project: Project) -> None:
    project.user("blind", "al", 3)
    project.settle()
    proxy = Proxy(
        project.server.url, lambda _path, _body: None, lambda _path, answer: answer
    )  # drops such headers
    eraser = connect(project.place | {"index_host": proxy.endpoint}, DataMap(1, "0"))
    scope = Scope(Subject("blind"))
    assert {json.loads(item.key)[1] for item in found(eraser, scope)} == {"tenant-blind"}
    assert erase_all(eraser, scope)[:2] == (6, 3)
    eraser.close()
    proxy.close()
