"""Which namespaces and ids are whose, by the data map."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lifecycle.datamap.model import Vectors
from lifecycle.systems.base import Scope
from lifecycle.systems.pinecone.names import ascii_name, namespace

DEFAULT = "__default__"
CANARY_SUFFIX = ".lifecycle-canary"


class Layout:
    """The map's vector entry, as questions that eraser, verifier and drift ask."""

    def __init__(self, vectors: Vectors) -> None:
        self.category = vectors.category
        self.tenant_field, self.user_field = vectors.tenant_field, vectors.user_field
        self.document_field = vectors.document_field
        self._templates = vectors.namespaces
        self._id_prefix, _, self._id_rest = vectors.id_template.partition("{*}")
        self.separator = self._id_prefix.rpartition("}")[2]  # what ends a document's part of an id
        self._owners = [
            re.compile("(?P<tenant>.+)".join(map(re.escape, t.split("{tenant}", 1)))) for t in self._templates
        ]

    def own(self, tenant: str) -> list[str]:
        """Namespaces that hold this tenant and nobody else."""
        return [namespace(template, tenant) for template in self._templates if "{tenant}" in template]

    def shared(self) -> list[str]:
        """Namespaces of the map that several tenants share."""
        return [template for template in self._templates if "{tenant}" not in template]

    def second(self, tenant: str) -> str:
        """A second namespace for a canary: one of the map, else one beside the tenant's own."""
        names = [*self.own(tenant), *self.shared()]
        if len(names) > 1:
            return names[1]
        template = self._templates[0] if self._templates else "{tenant}"
        return (
            namespace(template, tenant + CANARY_SUFFIX)
            if "{tenant}" in template
            else template + CANARY_SUFFIX
        )

    def classifies(self, name: str) -> bool:
        """Whether a template of the map covers this namespace."""
        return any(owner.fullmatch(name) for owner in self._owners)

    def owner(self, name: str) -> str:
        """The tenant of a namespace as its name spells it, else the name itself."""
        for owner in self._owners:
            match = owner.fullmatch(name)
            if match and "tenant" in owner.groupindex:
                return match["tenant"]
        return name

    def document_prefix(self, document: str) -> str:
        """What the ids of a document's vectors begin with."""
        return self._id_prefix.replace("{document}", ascii_name(document))

    def vector_id(self, document: str, part: str) -> str:
        """The id of one vector of a document."""
        return f"{self.document_prefix(document)}{part}{self._id_rest}"

    def is_plain(self, vector_id: str, document: str) -> bool:
        """Whether an id under a document's prefix can belong to no longer-named document (`a#1` beside `a#1#1`)."""
        rest = vector_id[len(self.document_prefix(document)) :]
        return not self.separator or self.separator not in rest

    def filter(self, scope: Scope) -> dict[str, Any]:
        """The metadata filter of a subject: tenant and, for a user, user; numbers too where an id is one."""
        subject = scope.subject
        condition: dict[str, Any] = {self.tenant_field: {"$in": _spelled(subject.tenant)}}
        if subject.user is not None:
            condition = {"$and": [condition, {self.user_field: {"$in": _spelled(subject.user)}}]}
        return condition

    def user_filter(self, user: str) -> dict[str, Any]:
        """The metadata filter of a user inside a namespace of his tenant."""
        return {self.user_field: {"$in": _spelled(user)}}

    def of_tenant(self, metadata: Mapping[str, Any], tenant: str, *, inside: bool) -> bool:
        """Whether metadata names this tenant; `inside` the tenant's own namespace it need not."""
        if self.tenant_field not in metadata:
            return inside
        return names(metadata[self.tenant_field], tenant)

    def of_user(self, metadata: Mapping[str, Any], user: str) -> bool:
        """Whether metadata names this user."""
        return names(metadata.get(self.user_field), user)

    def user_of(self, metadata: Mapping[str, Any]) -> str:
        """The user that metadata names, "" for none."""
        value = metadata.get(self.user_field)
        if isinstance(value, list):
            return ",".join(map(str, value))
        return "" if value is None else _text(value)


def names(value: Any, wanted: str) -> bool:
    """Whether a metadata value (a string, a number or a list) is `wanted`."""
    if isinstance(value, list):
        return any(names(each, wanted) for each in value)
    return value is not None and not isinstance(value, bool) and _text(value) == wanted


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _spelled(identifier: str) -> list[str | int]:
    plain = identifier.isascii() and identifier.isdigit() and len(identifier) < 16
    return [identifier, int(identifier)] if plain and str(int(identifier)) == identifier else [identifier]
