"""The best raw tools: each finds and removes everything of one tenant, with no fence, no manifest and no second look."""

from __future__ import annotations

import os
import subprocess
from typing import Any
from urllib.parse import urlsplit

from bench import sets
from bench.tools import program
from lifecycle.systems.pinecone.names import namespace

_DELETE = """
DELETE FROM chunks USING documents d WHERE d.id = document_id AND d.tenant_id = '{0}';
DELETE FROM documents WHERE tenant_id = '{0}'; DELETE FROM queries WHERE tenant_id = '{0}';
DELETE FROM users WHERE tenant_id = '{0}'"""


def psql(place: dict[str, Any], tenant: str) -> None:
    """One `psql -c` with a DELETE a table."""
    words = [program("psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-c", _DELETE.format(tenant), place["postgres"]]
    subprocess.run(words, check=True)


def s5cmd(place: dict[str, Any], tenant: str) -> None:
    """`s5cmd rm --all-versions` of the tenant's prefix."""
    store = place["s3"]
    sets.s5cmd(store, "rm", "--all-versions", f"s3://{store['bucket']}/tenant-{tenant}/*")


def redis_keys(place: dict[str, Any], tenant: str) -> None:
    """`redis-cli KEYS`, a thousand keys to an UNLINK, into `--pipe`. KEYS stops the server for everybody while it looks."""
    _redis(place, f"{{ask}} --raw KEYS '*:{tenant}:*' | xargs -n 1000 echo UNLINK | {{ask}} --pipe")


def redis_scan(place: dict[str, Any], tenant: str) -> None:
    """`redis-cli --scan`, a thousand keys to a `redis-cli UNLINK`: what can be done on a server that is in use."""
    _redis(place, f"{{ask}} --scan --pattern '*:{tenant}:*' | xargs -n 1000 {{ask}} UNLINK")


def _redis(place: dict[str, Any], line: str) -> None:
    told = urlsplit(place["redis"])
    ask = f"{program('redis-cli')} -h {told.hostname} -p {told.port} -n {told.path.strip('/') or 0}"
    subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.format(ask=ask)],
        env={**os.environ, "REDISCLI_AUTH": told.password or ""}, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def pinecone_sdk(place: dict[str, Any], tenant: str) -> None:
    """The official SDK: list the ids page by page, delete a thousand a call."""
    index, where = sets.pinecone_index(place), namespace("tenant-{tenant}", tenant)
    ids: list[str] = []
    for page in index.list(namespace=where):
        ids += [each if isinstance(each, str) else each.id for each in getattr(page, "vectors", page)]
        if len(ids) >= 1_000:
            index.delete(ids=ids[:1_000], namespace=where)
            ids = ids[1_000:]
    if ids:
        index.delete(ids=ids, namespace=where)
