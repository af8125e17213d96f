"""The sample platform's own service: documents in, answers out. It honours the freeze of a subject everywhere.

One object serves one region. Sessions, API keys, ingestion and queue workers each ask whether the subject is
frozen (`frozen_subjects`), so that nothing of a person arrives while that person is being erased.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import boto3
import psycopg2
import redis
from botocore.config import Config
from pinecone import Pinecone
from psycopg2.extensions import connection as Connection

from demo.platform.parts import Closed, digest, embed, refuse_frozen
from lifecycle.systems.pinecone.names import namespace

__all__ = ["Application", "Closed", "Session"]

WORKERS = "workers"  # the consumer group of every tenant's event stream
_SESSION_SECONDS = 8 * 3600


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in user."""

    tenant: str
    user: str
    token: str


class Application:
    """The service over one region's servers, as stack.json describes them. Use it in one thread."""

    def __init__(self, place: Mapping[str, Any]) -> None:
        store = place["s3"]
        self._rows: Connection = psycopg2.connect(place["postgres"])
        self._keys: Any = redis.Redis.from_url(place["redis"], decode_responses=True)
        self._bucket = store["bucket"]
        self._objects: Any = boto3.client(
            "s3",
            endpoint_url=store["endpoint"],
            aws_access_key_id=store["key"],
            aws_secret_access_key=store["secret"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        vectors = place["pinecone"]
        client = Pinecone(api_key=vectors["key"], host=vectors["control_host"])
        self._vectors: Any = client.index(host=vectors["index_host"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._rows.close()
        self._keys.close()

    def login(self, tenant: str, user: str) -> Session:
        """A new session. Raises Closed for a frozen or unknown user."""
        self._open(tenant, user)
        if not self._one("SELECT 1 FROM users WHERE tenant_id = %s AND user_id = %s", tenant, user):
            raise Closed("No such account. Check the name, or sign up.")
        session = Session(tenant, user, secrets.token_urlsafe(16))
        value = json.dumps({"user_id": user, "token": session.token})
        self._keys.set(f"session:{tenant}:{user}", value, ex=_SESSION_SECONDS)
        self._keys.sadd(f"online:{tenant}", user)
        return session

    def new_key(self, session: Session) -> str:
        """A new API key; only its digest is stored."""
        self._signed_in(session)
        key = secrets.token_urlsafe(24)
        with self._writing(session) as cursor:
            cursor.execute(
                "INSERT INTO api_keys (tenant_id, user_id, digest) VALUES (%s, %s, %s)",
                [session.tenant, session.user, digest(key)],
            )
        return key

    def by_key(self, key: str) -> Session:
        """The session that an API key opens. Raises Closed for an unknown, revoked or frozen one."""
        found = self._one(
            "SELECT tenant_id, user_id FROM api_keys WHERE digest = %s AND revoked_at IS NULL", digest(key)
        )
        if found is None:
            raise Closed("This API key is not valid. Make a new one.")
        return self.login(*found)

    def ingest(self, session: Session, title: str, text: str) -> str:
        """Stores a document with its parts in every system; returns its id.

        The freeze is asked before, in the transaction that makes the document visible, and after it: what a freeze
        overtakes is taken back.
        """
        self._signed_in(session)
        document = f"doc-{secrets.token_hex(8)}"
        key = f"tenant-{session.tenant}/user-{session.user}/{document}"
        try:
            self._objects.put_object(Bucket=self._bucket, Key=key, Body=text.encode())
            self._index(session, document, text)
            with self._writing(session) as cursor:
                cursor.execute(
                    "INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256) VALUES (%s, %s, %s, %s, %s, %s)",
                    [session.tenant, document, session.user, title, key, digest(text)],
                )
                cursor.execute(
                    "INSERT INTO chunks (document_id, position, body, embedding) VALUES (%s, 0, %s, %s)",
                    [document, text, json.dumps(embed(text))],
                )
            self._open(session.tenant, session.user)
        except Closed:
            self._take_back(session, document, key)
            raise
        return document

    def search(self, session: Session, question: str) -> list[str]:
        """Texts of the signed-in user's tenant nearest to the question, the best first."""
        self._signed_in(session)
        return self._answer(session.tenant, session.user, question)

    def ask(self, session: Session, question: str) -> str:
        """Puts a question on the tenant's queue; returns the entry's id. `work` answers it."""
        self._signed_in(session)
        entry = {"user_id": session.user, "event": "ask", "question": question}
        return str(self._keys.xadd(f"events:{session.tenant}", entry))

    def work(self, tenant: str, limit: int = 10) -> list[str]:
        """One turn of a queue worker: answers questions and returns the entries' ids; a frozen user's are dropped."""
        stream, answered = f"events:{tenant}", []
        with contextlib.suppress(redis.ResponseError):  # the group is there
            self._keys.xgroup_create(stream, WORKERS, id="0", mkstream=True)
        for _, entries in self._keys.xreadgroup(WORKERS, "worker", {stream: ">"}, count=limit) or []:
            for entry, fields in entries:
                if fields and fields.get("event") == "ask":
                    with contextlib.suppress(Closed):
                        self._open(tenant, fields["user_id"])
                        self._answer(tenant, fields["user_id"], fields["question"])
                        answered.append(entry)
                self._keys.xack(stream, WORKERS, entry)
        return answered

    def _answer(self, tenant: str, user: str, question: str) -> list[str]:
        found = self._vectors.query(
            vector=embed(question),
            top_k=3,
            namespace=namespace("tenant-{tenant}", tenant),
            filter={"tenant_id": {"$eq": tenant}},
            include_metadata=True,
        )
        documents = [match.metadata["document_id"] for match in found.matches]
        with self._writing(Session(tenant, user, "")) as cursor:
            cursor.execute(
                "SELECT body FROM chunks JOIN documents d ON d.id = document_id "
                "WHERE d.tenant_id = %s AND NOT d.hidden AND d.id = ANY(%s) ORDER BY array_position(%s, d.id)",
                [tenant, documents, documents],
            )
            texts = [row[0] for row in cursor.fetchall()]
            cursor.execute(
                "INSERT INTO queries (tenant_id, user_id, body) VALUES (%s, %s, %s)", [tenant, user, question]
            )
        cached = json.dumps({"user_id": user, "answer": texts[:1]})
        self._keys.set(f"query_cache:{tenant}:{digest(question)[:16]}", cached, ex=_SESSION_SECONDS)
        return texts

    def _index(self, session: Session, document: str, text: str) -> None:
        metadata = {"tenant_id": session.tenant, "user_id": session.user, "document_id": document}
        self._vectors.upsert(
            vectors=[{"id": f"{document}#0", "values": embed(text), "metadata": metadata}],
            namespace=namespace("tenant-{tenant}", session.tenant),
        )

    def _take_back(self, session: Session, document: str, key: str) -> None:
        with self._rows, self._rows.cursor() as cursor:
            cursor.execute("DELETE FROM chunks WHERE document_id = %s", [document])
            cursor.execute("DELETE FROM documents WHERE id = %s", [document])
        self._vectors.delete(ids=[f"{document}#0"], namespace=namespace("tenant-{tenant}", session.tenant))
        for version in self._objects.list_object_versions(Bucket=self._bucket, Prefix=key).get(
            "Versions", []
        ):
            self._objects.delete_object(Bucket=self._bucket, Key=key, VersionId=version["VersionId"])

    def _signed_in(self, session: Session) -> None:
        value = self._keys.get(f"session:{session.tenant}:{session.user}")
        known = str(json.loads(value).get("token", "")) if value else ""
        if not known or not secrets.compare_digest(known, session.token):
            raise Closed("Nobody is signed in. Sign in again.")
        self._open(session.tenant, session.user)

    def _open(self, tenant: str, user: str) -> None:
        with self._rows, self._rows.cursor() as cursor:
            refuse_frozen(cursor, tenant, user)

    @contextlib.contextmanager
    def _writing(self, session: Session) -> Iterator[Any]:
        """A transaction that refuses a frozen subject before and after its work."""
        with self._rows, self._rows.cursor() as cursor:
            refuse_frozen(cursor, session.tenant, session.user)
            yield cursor
            refuse_frozen(cursor, session.tenant, session.user)

    def _one(self, query: str, *values: str) -> tuple[Any, ...] | None:
        with self._rows, self._rows.cursor() as cursor:
            cursor.execute(query, values)
            found: tuple[Any, ...] | None = cursor.fetchone()
            return found
