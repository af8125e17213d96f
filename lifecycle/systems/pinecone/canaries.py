"""Canaries in every shape that a subject's vectors have."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from lifecycle.systems.base import BatchOver, Permanent, Planted, Scope
from lifecycle.systems.pinecone.layout import Layout
from lifecycle.systems.pinecone.wire import Index

WITH_METADATA, WITHOUT_METADATA, SECOND = "vector", "vector_without_metadata", "vector_in_second_namespace"


class Brief:
    """A gate of ten seconds of its own: a canary is ours to remove."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + 10
        self.deadline = datetime.now(UTC) + timedelta(seconds=10)

    def check(self) -> None:
        if self.remaining() <= 0:
            raise BatchOver

    def remaining(self) -> float:
        return max(0.0, self._ends - time.monotonic())


def shapes(scope: Scope) -> tuple[str, ...]:
    """A vector without metadata is found only through a document, or in a namespace that is the tenant's alone."""
    if scope.subject.user is not None and not scope.anchors.get("documents"):
        return (WITH_METADATA, SECOND)
    if scope.subject.user is None and scope.spared_users and not scope.anchors.get("documents"):
        return (WITH_METADATA, SECOND)
    return (WITH_METADATA, WITHOUT_METADATA, SECOND)


def make(
    scope: Scope, layout: Layout, index: Index, shape: str, marker: str
) -> tuple[Planted, str, dict[str, Any]]:
    """The canary of a shape: its record, its namespace, its vector."""
    own = [*layout.own(scope.subject.tenant), *layout.shared()]
    if not own:
        raise Permanent("The data map names no Pinecone namespace; add one under pinecone.namespaces.")
    second = layout.second(scope.subject.tenant)
    namespace = second if shape == SECOND else own[0]
    document = next(iter(scope.anchors.get("documents", ())), f"canary-{marker}")
    vector: dict[str, Any] = {
        "id": layout.vector_id(
            document if shape == WITHOUT_METADATA else f"canary-{marker}", f"canary-{marker}"
        ),
        **index.sample_values(),
    }
    if shape != WITHOUT_METADATA:
        vector["metadata"] = {
            layout.tenant_field: scope.subject.tenant,
            layout.document_field: f"canary-{marker}",
            "canary": marker,
        }
        if scope.subject.user is not None:
            vector["metadata"][layout.user_field] = scope.subject.user
        elif scope.spared_users:
            vector["metadata"][layout.user_field] = f"canary-{marker}"
    alone = shape == SECOND and second not in own
    return Planted(shape, marker, json.dumps([index.name, namespace, vector["id"], alone])), namespace, vector
