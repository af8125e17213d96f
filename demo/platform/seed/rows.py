"""Rows of the sample platform, written by COPY."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from demo.platform.cast import Customer, full_name, mail
from demo.platform.seed.content import DAWN, Document, documents, per_user

_TABLES = (
    "highlights", "chunks", "access_controls", "messages", "conversations", "queries", "api_keys", "invoices",
    "audit_logs", "feedback",
)  # fmt: skip


def seed(dsn: str, customer: Customer, scale: int) -> int:
    """Replaces one tenant's rows. Returns how many were written."""
    connection = psycopg2.connect(dsn)
    try:
        with connection:
            clear(connection, customer.id)
            return _write(connection, customer, scale)
    finally:
        connection.close()


def living(dsn: str, customer: Customer) -> tuple[str, ...]:
    """Those of a tenant's seeded users who are still there."""
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT user_id FROM users WHERE tenant_id = %s", [customer.id])
            there = {row[0] for row in cursor.fetchall()}
    finally:
        connection.close()
    return tuple(user for user in customer.users if user in there)


def clear(connection: Connection, tenant: str) -> None:
    """Removes a tenant's rows, so that seeding again gives the same data."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT lo_unlink(original) FROM documents WHERE tenant_id = %s AND original IS NOT NULL",
            [tenant],
        )
        cursor.execute(
            "DELETE FROM highlights USING chunks c JOIN documents d ON d.id = c.document_id "
            "WHERE highlights.chunk_id = c.id AND d.tenant_id = %s",
            [tenant],
        )
        cursor.execute(
            "DELETE FROM chunks USING documents d WHERE d.id = document_id AND d.tenant_id = %s", [tenant]
        )
        for table in (*_TABLES[2:], "documents", "users"):
            cursor.execute(f"DELETE FROM {table} WHERE tenant_id = %s", [tenant])


def _write(connection: Connection, customer: Customer, scale: int) -> int:
    tenant = customer.id
    docs = list(documents(customer, scale))
    written = _copy(connection, "users", "tenant_id, user_id, email, full_name",
                    [(tenant, user, mail(tenant, user), full_name(tenant, user)) for user in customer.users])  # fmt: skip
    written += _documents(connection, docs)
    written += _activity(connection, customer, scale)
    written += _conversations(connection, customer)
    with connection.cursor() as cursor:
        cursor.execute("REFRESH MATERIALIZED VIEW user_activity")
    return written


def _documents(connection: Connection, docs: list[Document]) -> int:
    written = _copy(
        connection, "documents", "tenant_id, id, owner_id, title, s3_key, sha256, created_at",
        [(d.tenant, d.id, d.owner, d.title, d.s3_key, hashlib.sha256(d.body).hexdigest(), DAWN) for d in docs],
    )  # fmt: skip
    chunks = [(d, number, _number(f"{d.id}#{number}")) for d in docs for number in d.chunks]
    written += _copy(
        connection, "chunks", "id, document_id, position, body, embedding",
        [(key, d.id, number, f"Part {number} of {d.title}", json.dumps(d.embedding(number))) for d, number, key in chunks],
    )  # fmt: skip
    written += _copy(
        connection, "highlights", "id, chunk_id, note",
        [(_number(f"note {key}"), key, f"noted by {d.owner}") for d, number, key in chunks if number == 0],
    )  # fmt: skip
    with connection.cursor() as cursor:
        for each in docs:
            if each.number == 0:
                cursor.execute(
                    "UPDATE documents SET original = lo_from_bytea(0, %s) WHERE id = %s", [each.body, each.id]
                )
    return written


def _activity(connection: Connection, customer: Customer, scale: int) -> int:
    tenant, users, number = customer.id, customer.users, per_user(customer, scale)
    rows = [(tenant, user, n) for user in users for n in range(number)]
    copied: list[tuple[str, str, list[tuple[Any, ...]]]] = [
        ("queries", "tenant_id, user_id, body, asked_at", [(t, u, f"What did {u} find {n}?", DAWN) for t, u, n in rows]),
        ("api_keys", "tenant_id, user_id, digest", [(tenant, u, _digest(f"{tenant}/{u}")) for u in users]),
        ("invoices", "tenant_id, user_id, amount_cents, billed_to, issued_at",
         [(t, u, 990 + n, full_name(t, u), DAWN) for t, u, n in rows if n < 2]),
        ("audit_logs", "tenant_id, actor_id, action, ip, detail, at",
         [(t, u, "upload", "192.0.2.7", json.dumps({"mail": mail(t, u)}), DAWN) for t, u, n in rows]),
        ("feedback", "tenant_id, user_id, score, comment", [(tenant, u, 5, f"{u} likes it") for u in users]),
    ]  # fmt: skip
    return sum(_copy(connection, table, columns, values) for table, columns, values in copied)


def _conversations(connection: Connection, customer: Customer) -> int:
    """One conversation shared by everybody, one of the first user alone; access to each other's documents."""
    tenant, users = customer.id, customer.users
    shared, own = _number(f"{tenant} shared"), _number(f"{tenant} own")
    written = _copy(connection, "conversations", "id, tenant_id, started_by, topic",
                    [(shared, tenant, users[0], "quarter"), (own, tenant, users[0], "notes")])  # fmt: skip
    messages: list[tuple[Any, ...]] = []
    previous: int | None = None
    for turn, user in enumerate([*users, *users]):
        key = _number(f"{tenant} message {turn}")
        messages.append((key, shared, tenant, user, f"turn {turn}", previous, DAWN))
        previous = key
    messages.append((_number(f"{tenant} note"), own, tenant, users[0], "to self", None, DAWN))
    written += _copy(
        connection, "messages", "id, conversation_id, tenant_id, author_id, body, reply_to, sent_at", messages
    )
    first = [d for d in documents(customer, 1) if d.number == 0]
    grants = [(tenant, d.id, user, d.owner) for d in first for user in users if user != d.owner]
    return written + _copy(
        connection, "access_controls", "tenant_id, document_id, user_id, granted_by", grants
    )


def _number(text: str) -> int:
    """A key that is the same each time, and beyond what the sequences give."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") | (1 << 55)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _copy(connection: Connection, table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> int:
    buffer, count = io.StringIO(), 0
    for row in rows:
        buffer.write("\t".join(r"\N" if value is None else _escape(str(value)) for value in row) + "\n")
        count += 1
    buffer.seek(0)
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", buffer)
    return count


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
