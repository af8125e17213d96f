"""The disk under the local Pinecone: SQLite for what is stored, a file for what was deleted.

Every write is committed before it is acknowledged, so kill -9 loses nothing that a client was told is done.
(Power loss may: the files are not synced, since this server is for trials on one machine.)
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from demo.servers.pinecone.records import Changes, Lag, Namespace, Record

TRASH_DAYS = 90
DEFAULT_NAMESPACE = "__default__"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS idx (id TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS namespace (idx TEXT, ns TEXT, lsn INTEGER, present INTEGER, schema TEXT,
    PRIMARY KEY (idx, ns));
CREATE TABLE IF NOT EXISTS record (idx TEXT, ns TEXT, id TEXT, body BLOB, PRIMARY KEY (idx, ns, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS backup (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS backup_record (backup TEXT, ns TEXT, id TEXT, body BLOB, PRIMARY KEY (backup, ns, id))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS restore_job (id TEXT PRIMARY KEY, body TEXT NOT NULL);
"""


class Trash:
    """Deleted records, kept 90 days in `trash.jsonl`, as the provider keeps them. No API call reads it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._purge()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, index: str, namespace: str, records: dict[str, Record]) -> None:
        """Keep records that are about to be deleted."""
        if not records:
            return
        now = datetime.now(UTC)
        stamp = {
            "deleted_at": now.isoformat(),
            "purge_at": (now + timedelta(days=TRASH_DAYS)).isoformat(),
            "index": index,
            "namespace": namespace,
        }
        lines = [orjson.dumps({**stamp, **record.shown(record_id)}) for record_id, record in records.items()]
        os.write(self._fd, b"\n".join(lines) + b"\n")

    def _purge(self) -> None:
        if not self._path.exists():
            return
        now = datetime.now(UTC).isoformat()
        lines = self._path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and orjson.loads(line)["purge_at"] > now]
        if len(kept) != len(lines):
            fresh = self._path.with_suffix(".new")
            fresh.write_bytes(b"".join(kept))
            fresh.replace(self._path)


class Index:
    """One index: its description and its namespaces in memory."""

    def __init__(self, index_id: str, description: dict[str, Any], lag: Lag) -> None:
        self.id = index_id
        self._lag = lag
        self.description = description
        self.namespaces: dict[str, Namespace] = {}

    @property
    def name(self) -> str:
        return str(self.description["name"])

    @property
    def dimension(self) -> int:
        return int(self.description["dimension"])

    @property
    def metric(self) -> str:
        return str(self.description["metric"])

    def settled(self, namespace: str) -> Namespace | None:
        """The namespace with its visible picture brought up to now; None if it never was."""
        found = self.namespaces.get(namespace)
        if found is not None:
            found.settle(self._lag)
        return found


class Store:
    """All indexes, backups and restore jobs of one server, loaded from and written to `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.indexes: dict[str, Index] = {}
        self.lag = Lag()
        self._trash = Trash(folder / "trash.jsonl")
        self._db = sqlite3.connect(folder / "pinecone.sqlite3", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)
        self._load()

    def _load(self) -> None:
        by_id: dict[str, Index] = {}
        for index_id, body in self._db.execute("SELECT id, body FROM idx"):
            by_id[index_id] = Index(index_id, json.loads(body), self.lag)
            self.indexes[by_id[index_id].name] = by_id[index_id]
        for index_id, ns, lsn, present, schema in self._db.execute("SELECT * FROM namespace"):
            by_id[index_id].namespaces[ns] = Namespace.loaded(lsn, bool(present), json.loads(schema))
        for index_id, ns, record_id, body in self._db.execute("SELECT idx, ns, id, body FROM record"):
            by_id[index_id].namespaces[ns].load(record_id, Record.load(body))

    def create_first(self, description: dict[str, Any]) -> None:
        """Create the first index, once in the life of a state folder, so that a deleted index stays deleted."""
        if self._db.execute("PRAGMA user_version").fetchone()[0]:
            return
        self.save_index(description)
        self._db.execute("PRAGMA user_version = 1")

    def write(
        self,
        index: Index,
        namespace: str,
        changes: Changes,
        *,
        present: bool = True,
        schema: dict[str, Any] | None = None,
    ) -> Namespace:
        """Make a write durable and take it into memory. Records that vanish go to the trash first."""
        target = index.namespaces.get(namespace) or Namespace(schema=schema)
        gone = {
            key: target.committed[key]
            for key, new in changes.items()
            if new is None and key in target.committed
        }
        self._trash.add(index.name, namespace, gone)
        stored = [(index.id, namespace, key, new.dump()) for key, new in changes.items() if new is not None]
        with _Transaction(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO namespace VALUES (?, ?, ?, ?, ?)",
                (index.id, namespace, target.committed_lsn + 1, present, json.dumps(target.schema)),
            )
            self._db.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?)", stored)
            self._db.executemany(
                "DELETE FROM record WHERE idx = ? AND ns = ? AND id = ?",
                ((index.id, namespace, key) for key in gone),
            )
        index.namespaces[namespace] = target
        target.commit(changes, present)
        target.settle(self.lag)
        return target

    def save_index(self, description: dict[str, Any]) -> Index:
        """Create an index or change its description."""
        known = self.indexes.get(description["name"])
        index = known or Index(str(uuid.uuid4()), description, self.lag)
        index.description = description
        self._db.execute(
            "INSERT OR REPLACE INTO idx VALUES (?, ?, ?)", (index.id, index.name, json.dumps(description))
        )
        self.indexes[index.name] = index
        return index

    def delete_index(self, index: Index) -> None:
        """Delete an index with all its records, which go to the trash; its backups stay."""
        for name, namespace in index.namespaces.items():
            self._trash.add(index.name, name, namespace.committed)
        with _Transaction(self._db):
            self._db.execute("DELETE FROM record WHERE idx = ?", (index.id,))
            self._db.execute("DELETE FROM namespace WHERE idx = ?", (index.id,))
            self._db.execute("DELETE FROM idx WHERE id = ?", (index.id,))
        del self.indexes[index.name]

    def save_backup(self, backup: dict[str, Any], index: Index) -> None:
        """Copy every committed record of the index under a new backup id."""
        with _Transaction(self._db):
            self._db.execute("INSERT INTO backup VALUES (?, ?)", (backup["backup_id"], json.dumps(backup)))
            self._db.execute(
                "INSERT INTO backup_record SELECT ?, ns, id, body FROM record WHERE idx = ?",
                (backup["backup_id"], index.id),
            )

    def backups(self) -> Iterator[dict[str, Any]]:
        """Every backup's description, oldest first."""
        for (body,) in self._db.execute("SELECT body FROM backup ORDER BY rowid"):
            yield json.loads(body)

    def delete_backup(self, backup_id: str) -> None:
        """Delete a backup and its records."""
        with _Transaction(self._db):
            self._db.execute("DELETE FROM backup_record WHERE backup = ?", (backup_id,))
            self._db.execute("DELETE FROM backup WHERE id = ?", (backup_id,))

    def restore(self, backup_id: str, index: Index) -> None:
        """Write every record of a backup into a new index."""
        contents: dict[str, dict[str, Record]] = {}
        for ns, record_id, body in self._db.execute(
            "SELECT ns, id, body FROM backup_record WHERE backup = ?", (backup_id,)
        ):
            contents.setdefault(ns, {})[record_id] = Record.load(body)
        for ns, records in contents.items():
            self.write(index, ns, records)

    def save_restore_job(self, job: dict[str, Any]) -> None:
        """Keep the description of a restore job."""
        self._db.execute("INSERT INTO restore_job VALUES (?, ?)", (job["restore_job_id"], json.dumps(job)))

    def restore_jobs(self) -> Iterator[dict[str, Any]]:
        """Every restore job's description, oldest first."""
        for (body,) in self._db.execute("SELECT body FROM restore_job ORDER BY rowid"):
            yield json.loads(body)


class _Transaction:
    """BEGIN IMMEDIATE ... COMMIT, or ROLLBACK when the block raises."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._db.execute("ROLLBACK" if kind else "COMMIT")


def utc_now() -> str:
    """The time as the API writes it."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
