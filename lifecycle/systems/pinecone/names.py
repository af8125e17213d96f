"""Namespaces and ids in Pinecone are ASCII; a tenant's id need not be."""

from __future__ import annotations

from urllib.parse import quote


def ascii_name(text: str) -> str:
    """`text` as it stands in a namespace or id: as it is where it is ASCII, else its UTF-8 percent-encoded."""
    return text if text.isascii() else quote(text, safe="")


def namespace(template: str, tenant: str) -> str:
    """The namespace that the data map's `template` gives `tenant`."""
    return template.replace("{tenant}", ascii_name(tenant))
