"""Pinecone: vectors of a subject."""

import logging

# httpx logs each address with its ids, and the SDK logs what it asks for: neither belongs in a log of ours.
for _name in ("httpx", "httpcore", "pinecone"):
    logging.getLogger(_name).setLevel(logging.WARNING)
