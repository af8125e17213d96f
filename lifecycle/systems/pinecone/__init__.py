"""Pinecone: vectors of a subject."""

import logging
import ssl
from functools import cache

# httpx logs each address with its ids, and the SDK logs what it asks for: neither belongs in a log of ours.
for _name in ("httpx", "httpcore", "pinecone"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@cache
def trust() -> ssl.SSLContext:
    """The machine's certificates, read once: reading them takes longer than a hundred requests."""
    return ssl.create_default_context()
