"""Finds a subject's vectors: by metadata, by the ids of its documents, and as strays in everybody's namespaces.

A state is a small JSON value that names what to read next, so that a pass can be continued in another process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from typing import Any

from lifecycle.systems.base import Scope
from lifecycle.systems.pinecone.kinds import vector_keys
from lifecycle.systems.pinecone.layout import Layout
from lifecycle.systems.pinecone.wire import Index

DOCUMENTS = 64


class Finder:
    """One scope in the indexes of one project."""

    def __init__(self, scope: Scope, layout: Layout, indexes: Mapping[str, Index], pool: Executor) -> None:
        self._scope = scope
        self._subject = scope.subject
        self._layout = layout
        self._indexes = indexes
        self._pool = pool
        self._own = layout.own(scope.subject.tenant)
        self._documents = scope.anchors.get("documents", ())

    def start(self) -> dict[str, Any] | None:
        """The first state of a pass."""
        return self._first(sorted(self._indexes))

    def step(self, state: dict[str, Any]) -> tuple[list[str], dict[str, Any] | None]:
        """Item keys of one step, and the state that follows; None at the end."""
        index = self._indexes.get(state["indexes"][0])
        if index is None:  # deleted meanwhile, with all its vectors
            return [], self._first(state["indexes"][1:])
        if state["view"] == "own":
            return self._own_page(index, state)
        if state["view"] == "documents":
            return self._documents_page(index, state)
        return self._strays_page(index, state)

    def _first(self, indexes: list[str]) -> dict[str, Any] | None:
        if not indexes:
            return None
        view = "own" if self._own else "strays"
        return {"indexes": indexes, "view": view, "namespace": 0, "at": None}

    def _own_page(self, index: Index, state: dict[str, Any]) -> tuple[list[str], dict[str, Any] | None]:
        """A whole tenant's namespaces id by id; a user's vectors there by metadata."""
        namespace = self._own[state["namespace"]]
        if self._subject.user is not None:
            user = self._subject.user
            found, token = index.matching(namespace, self._layout.user_filter(user), state["at"])
            ids = [
                vector_id
                for vector_id, metadata in found.items()
                if self._layout.of_tenant(metadata, self._subject.tenant, inside=True)
                and self._layout.of_user(metadata, user)
            ]
            following = {"at": token} if token else {"view": "documents", "at": 0}
            return self._keys(index, namespace, ids), {**state, **following}
        ids, token = index.ids(namespace, token=state["at"])
        if self._scope.spared_users:
            ids = self._unspared(index.metadata(namespace, ids))
        if token:
            return self._keys(index, namespace, ids), {**state, "at": token}
        return self._keys(index, namespace, ids), self._next_namespace(state)

    def _documents_page(self, index: Index, state: dict[str, Any]) -> tuple[list[str], dict[str, Any] | None]:
        """Vectors of the subject's documents, with metadata or without."""
        namespace = self._own[state["namespace"]]
        end = state["at"] + DOCUMENTS
        part = self._documents[state["at"] : end]
        found = self._pool.map(lambda document: self._of_document(index, namespace, document), part)
        keys = [key for ids in found for key in self._keys(index, namespace, ids)]
        if end < len(self._documents):
            return keys, {**state, "at": end}
        return keys, self._next_namespace(state)

    def _strays_page(self, index: Index, state: dict[str, Any]) -> tuple[list[str], dict[str, Any] | None]:
        """One page of other namespaces: vectors whose metadata name the subject."""
        names, token = index.namespaces(state["at"])
        others = [name for name in names if name not in self._own]
        found = self._pool.map(lambda name: self._strays(index, name), others)
        keys = [key for name, ids in zip(others, found, strict=True) for key in self._keys(index, name, ids)]
        return keys, {**state, "at": token} if token else self._first(state["indexes"][1:])

    def _strays(self, index: Index, namespace: str) -> list[str]:
        tenant, user = self._subject.tenant, self._subject.user
        found: dict[str, dict[str, Any]] = {}
        token: str | None = None
        while True:
            page, token = index.matching(namespace, self._layout.filter(self._scope), token)
            found |= {
                vector_id: metadata
                for vector_id, metadata in page.items()
                if self._layout.of_tenant(metadata, tenant, inside=False)
                and (user is None or self._layout.of_user(metadata, user))
            }
            if not token:
                break
        ids = self._unspared(found) if self._scope.spared_users else list(found)
        if namespace in self._layout.shared():
            ids += [
                each for document in self._documents for each in self._of_document(index, namespace, document)
            ]
        return ids

    def _of_document(self, index: Index, namespace: str, document: str) -> list[str]:
        prefix = self._layout.document_prefix(document)
        found: list[str] = []
        token: str | None = None
        while True:
            ids, token = index.ids(namespace, prefix, token)
            found += ids
            if not token:
                break
        plain = [each for each in found if self._layout.is_plain(each, document)]
        unsure = index.metadata(
            namespace, [each for each in found if not self._layout.is_plain(each, document)]
        )
        return plain + [each for each, metadata in unsure.items() if self._is_of(metadata, document)]

    def _is_of(self, metadata: Mapping[str, Any], document: str) -> bool:
        if metadata.get(self._layout.document_field) == document:
            return True
        return self._subject.user is not None and self._layout.of_user(metadata, self._subject.user)

    def _unspared(self, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Leaves out held users' vectors, and what could be theirs: no metadata, of no document known to go."""
        prefixes = tuple(self._layout.document_prefix(document) for document in self._documents)
        return [
            vector_id
            for vector_id, metadata in found.items()
            if not any(self._layout.of_user(metadata, user) for user in self._scope.spared_users)
            and (self._layout.user_of(metadata) or (prefixes and vector_id.startswith(prefixes)))
        ]

    def _next_namespace(self, state: dict[str, Any]) -> dict[str, Any]:
        following = state["namespace"] + 1
        if following < len(self._own):
            return {**state, "view": "own", "namespace": following, "at": None}
        return {**state, "view": "strays", "namespace": 0, "at": None}

    def _keys(self, index: Index, namespace: str, ids: Iterable[str]) -> list[str]:
        return vector_keys(index.name, namespace, ids)
