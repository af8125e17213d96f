"""A small platform in a database of its own: hostile twins beside every subject, each awkward shape once a user."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
from psycopg2.extensions import connection as Connection

from lifecycle.datamap.loader import load
from lifecycle.datamap.model import DataMap
from lifecycle.participation import install
from lifecycle.systems.base import BatchOver, Entry, Hit, Item, Scope, Subject, Tally
from lifecycle.systems.postgresql.eraser import PostgresqlEraser, connect
from lifecycle.systems.postgresql.verifier import PostgresqlVerifier
from lifecycle.systems.postgresql.verifier import connect as verify

ROOT = Path(__file__).resolve().parents[4]
MAP = (ROOT / "demo" / "datamap.yaml").read_text()
TENANTS = ("1", "17", "117", "1*", "a_b", "aXb", "Größe")
USERS = ("u", "u-1", "u-1-2", "u-12", "ü")


class OpenGate:
    """A gate that is open for `seconds`; what the fence gives, without a fence."""

    def __init__(self, seconds: float = 30) -> None:
        self.deadline = datetime.now(UTC) + timedelta(seconds=seconds)
        self.checks = 0

    def check(self) -> None:
        self.checks += 1
        if self.remaining() <= 0:
            raise BatchOver("The batch is over.")

    def remaining(self) -> float:
        return max(0.0, (self.deadline - datetime.now(UTC)).total_seconds())


@dataclass
class World:
    """One database with the sample platform's schema."""

    dsn: str
    reader_dsn: str
    connection: Connection
    datamap: DataMap = field(default_factory=lambda: load(MAP))

    @property
    def name(self) -> str:
        return urlsplit(self.dsn).path[1:]

    @property
    def place(self) -> dict[str, str]:
        return {"dsn": self.dsn, "reader_dsn": self.reader_dsn}

    def run(
        self, statement: str, params: Sequence[Any] | dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def one(self, statement: str, params: Sequence[Any] | None = None) -> Any:
        return self.run(statement, params)[0][0]

    def eraser(self) -> PostgresqlEraser:
        return connect(self.place, self.datamap)

    def verifier(self) -> PostgresqlVerifier:
        return verify(self.place, self.datamap)


@contextmanager
def world(stack: dict[str, Any], copy_of: World | None = None) -> Iterator[World]:
    """A fresh database in the first region (or a copy of one that nobody is connected to), dropped at the end."""
    region = stack["regions"]["us-east-1"]
    name = f"erase_{uuid.uuid4().hex[:12]}"
    admin = psycopg2.connect(stack["servers"]["postgres-us-east-1"]["admin"])
    admin.autocommit = True
    with admin.cursor() as cursor:
        template = f" TEMPLATE {copy_of.name} STRATEGY file_copy" if copy_of else ""
        cursor.execute(f"CREATE DATABASE {name} OWNER app{template}")
    made = World(
        _at(region["postgres"], name),
        _at(region["postgres_reader"], name),
        psycopg2.connect(_at(region["postgres"], name)),
    )
    made.connection.autocommit = True
    try:
        if copy_of is None:
            made.run((ROOT / "demo" / "platform" / "schema.sql").read_text())
            install(made.dsn, "us-east-1")
        yield made
    finally:
        made.connection.close()
        with admin.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.close()


def _at(dsn: str, database: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def mail(tenant: str, user: str) -> str:
    return f"{user.replace('ü', 'ue')}.of.{tenant.replace('*', 'star').replace('ö', 'oe').replace('ß', 'ss')}@mail.example"


def fill(w: World, tenants: Sequence[str] = TENANTS, users: Sequence[str] = USERS) -> None:
    """Every shape for every user of every tenant; each document's title names nobody but its owner's number."""
    for t in tenants:
        for u in users:
            _user(w, t, u)
        _talk(w, t, users)
    w.run("REFRESH MATERIALIZED VIEW user_activity")


def _user(w: World, t: str, u: str) -> None:
    w.run("INSERT INTO users VALUES (%s, %s, %s, %s)", [t, u, mail(t, u), f"Person {u} Of {t}"])
    for n in range(2):
        doc = f"{t}/{u}/{n}"
        oid = w.one("SELECT lo_from_bytea(0, %s)", [f"original of {doc}".encode()])
        w.run(
            "INSERT INTO documents (tenant_id, id, owner_id, title, s3_key, sha256, original) VALUES (%s,%s,%s,%s,%s,'',%s)",
            [t, doc, u, f"title {n}", f"tenant-{t}/user-{u}/{n}", oid],
        )
        chunk = w.one(
            "INSERT INTO chunks (document_id, position, body) VALUES (%s, %s, 'body') RETURNING id", [doc, n]
        )
        w.run("INSERT INTO highlights (chunk_id, note) VALUES (%s, 'note')", [chunk])
    w.run("INSERT INTO queries (tenant_id, user_id, body) VALUES (%s, %s, 'what is it')", [t, u])
    w.run("INSERT INTO api_keys (tenant_id, user_id, digest) VALUES (%s, %s, 'd')", [t, u])
    w.run(
        "INSERT INTO invoices (tenant_id, user_id, amount_cents, billed_to) VALUES (%s, %s, 5, 'a street')",
        [t, u],
    )
    w.run(
        "INSERT INTO audit_logs (tenant_id, actor_id, action, ip, detail) VALUES (%s, %s, 'login', '10.0.0.1', %s)",
        [t, u, json.dumps({"as": mail(t, u)})],
    )
    w.run("INSERT INTO feedback VALUES (%s, %s, 3, 'fine'), (%s, %s, 3, 'fine')", [t, u, t, u])


def _talk(w: World, t: str, users: Sequence[str]) -> None:
    """One conversation of everybody, one of each alone; everybody may read everybody's first document."""
    shared = w.one(
        "INSERT INTO conversations (tenant_id, started_by, topic) VALUES (%s, %s, 'all') RETURNING id",
        [t, users[1]],
    )
    before = None
    for u in users:
        before = w.one(
            "INSERT INTO messages (conversation_id, tenant_id, author_id, body, reply_to) VALUES (%s,%s,%s,'hello',%s) "
            "RETURNING id",
            [shared, t, u, before],
        )
        alone = w.one(
            "INSERT INTO conversations (tenant_id, started_by, topic) VALUES (%s, %s, 'own') RETURNING id",
            [t, u],
        )
        w.run(
            "INSERT INTO messages (conversation_id, tenant_id, author_id, body) VALUES (%s, %s, %s, 'to myself')",
            [alone, t, u],
        )
        for other in users:
            if other != u:
                w.run("INSERT INTO access_controls VALUES (%s, %s, %s, %s)", [t, f"{t}/{u}/0", other, u])


def snapshot(w: World) -> dict[str, list[tuple[str, ...]]]:
    """Every row of every table as text, and every large object's bytes."""
    tables = [
        r[0]
        for r in w.run(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r','m')"
        )
    ]
    page = {t: sorted(w.run(f'SELECT x::text FROM "{t}" x')) for t in tables}
    page["large objects"] = sorted(
        w.run("SELECT oid::text, encode(lo_get(oid), 'escape') FROM pg_largeobject_metadata")
    )
    return page


def scope(tenant: str, user: str | None = None, **more: Any) -> Scope:
    mails = (mail(tenant, user),) if user else ()
    names = (f"Person {user} Of {tenant}",) if user else ()
    return Scope(Subject(tenant, user, mails, names), pseudonym="erased-0123456789", **more)


def known(w: World, tenant: str, user: str | None = None, **more: Any) -> Scope:
    """The scope with what the subject's rows lead to, as the workflow makes it."""
    plain = scope(tenant, user, **more)
    return replace(plain, anchors=w.eraser().anchors(plain))


def found(eraser: PostgresqlEraser, of: Scope) -> list[Item]:
    items: list[Item] = []
    cursor: Any = None
    while True:
        page = eraser.discover(of, cursor)
        items += page.entries
        cursor = json.loads(json.dumps(page.cursor))
        if cursor is None:
            return items


def erase_all(eraser: PostgresqlEraser, of: Scope) -> Tally:
    """What the workflow does: passes until one finds nothing to destroy, then the end."""
    total = Tally()
    for _ in range(5):
        items = [i for i in found(eraser, of) if i.action != "retain"]
        if not items:
            eraser.finish(of, OpenGate())
            return total
        while items:
            tally = eraser.erase(of, items, OpenGate())
            assert tally.taken > 0
            items = items[tally.taken :]
            total.taken += tally.taken
            total.erased += tally.erased
            total.anonymised += tally.anonymised
    raise AssertionError(f"Still something after five passes: {items[:5]}")


def hits(verifier: PostgresqlVerifier, of: Scope) -> list[Hit]:
    """The whole raw search."""
    made: list[Hit] = []
    cursor: Any = None
    while True:
        page = verifier.search(of, cursor)
        made += page.entries
        cursor = json.loads(json.dumps(page.cursor))
        if cursor is None:
            return made


def neighbours(verifier: PostgresqlVerifier, of: Scope) -> set[Entry]:
    return set(verifier.bystanders(of))
