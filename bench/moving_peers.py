"""The best raw tools that copy: each returns its seconds. None of them verifies or follows what changes meanwhile."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench import sets
from bench.tools import program
from demo.stack.postgres import binary
from lifecycle.systems.pinecone.names import namespace

Scratch = Callable[[], AbstractContextManager[str]]
# A tenant's rows, parents first. `chunks` may have a tenant column by now: its own columns are named.
_TABLES = (
    ("users", "*", "tenant_id = '{0}'"),
    ("documents", "tenant_id, id, owner_id, title, s3_key, sha256", "tenant_id = '{0}'"),
    (
        "chunks",
        "id, document_id, position, body, embedding",
        "document_id IN (SELECT id FROM documents WHERE tenant_id = '{0}')",
    ),
    ("queries", "id, tenant_id, user_id, body", "tenant_id = '{0}'"),
)
_PAGE = 100


def copy_pipe(source: str, tenant: str, scratch: Scratch) -> float:
    """`psql COPY ... TO STDOUT | psql COPY ... FROM STDIN`, a table at a time."""
    with scratch() as target:
        began = time.perf_counter()
        for table, columns, where in _TABLES:
            named = "" if columns == "*" else f"({columns})"
            out = f"COPY (SELECT {columns} FROM {table} WHERE {where.format(tenant)}) TO STDOUT"
            line = '"$0" -qX -d "$1" -c "$2" | "$0" -qX -v ON_ERROR_STOP=1 -d "$3" -c "$4"'
            words = [program("psql"), source, out, target, f"COPY {table}{named} FROM STDIN"]
            subprocess.run(["bash", "-o", "pipefail", "-c", line, *words], check=True)
        return time.perf_counter() - began


def pgcopydb(source: str, scratch: Scratch) -> float:
    """`pgcopydb clone` of the whole database, which holds one tenant; four jobs."""
    with scratch() as target, tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(
            [program("pgcopydb"), "clone", "--source", source, "--target", target, "--table-jobs", "4",
             "--index-jobs", "4", "--no-owner", "--no-acl", "--skip-extensions", "--dir", folder],
            env=_newer_dump(), check=True, capture_output=True,
        )  # fmt: skip
        return time.perf_counter() - began


def _newer_dump() -> dict[str, str]:
    """Debian's pg_dump refuses our newer server: the server's own comes first."""
    return {**os.environ, "PATH": f"{Path(binary('pg_dump')).parent}:{os.environ['PATH']}"}


def rclone(blue: dict[str, str], green: dict[str, str], prefix: str, to: str) -> float:
    """`rclone copy` from store to store, 16 at a time."""
    settings: dict[str, str] = {}
    for name, store in (("BLUE", blue), ("GREEN", green)):
        settings |= {
            f"RCLONE_CONFIG_{name}_TYPE": "s3",
            f"RCLONE_CONFIG_{name}_PROVIDER": "Other",
            f"RCLONE_CONFIG_{name}_ENDPOINT": store["endpoint"],
            f"RCLONE_CONFIG_{name}_ACCESS_KEY_ID": store["key"],
            f"RCLONE_CONFIG_{name}_SECRET_ACCESS_KEY": store["secret"],
        }
    words = ["copy", f"blue:{blue['bucket']}/{prefix}", f"green:{green['bucket']}/{to}"]
    began = time.perf_counter()
    subprocess.run(
        [program("rclone"), *words, "--transfers", "16", "--checkers", "16", "--s3-no-check-bucket"],
        env={**os.environ, **settings}, check=True, capture_output=True,
    )  # fmt: skip
    return time.perf_counter() - began


def s5cmd(blue: dict[str, str], green: dict[str, str], prefix: str, to: str) -> float:
    """s5cmd reaches one endpoint at a time: everything down, everything up."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        sets.s5cmd(blue, "cp", f"s3://{blue['bucket']}/{prefix}/*", f"{folder}/")
        sets.s5cmd(green, "cp", f"{folder}/", f"s3://{green['bucket']}/{to}/")
        return time.perf_counter() - began


def pinecone_sdk(blue: dict[str, Any], green: dict[str, Any], tenant: str, to: str) -> float:
    """The official SDK: a page of ids, a fetch, an upsert, in a loop."""
    source, target = sets.pinecone_index(blue), sets.pinecone_index(green)
    where = namespace("tenant-{tenant}", tenant)
    began = time.perf_counter()
    for page in source.list(namespace=where, limit=_PAGE):
        ids = [each if isinstance(each, str) else each.id for each in getattr(page, "vectors", page)]
        found = source.fetch(ids=ids, namespace=where).vectors.values()
        batch = [{"id": each.id, "values": list(each.values), "metadata": each.metadata} for each in found]
        target.upsert(vectors=batch, namespace=to, show_progress=False)
    return time.perf_counter() - began
