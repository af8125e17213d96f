"""What the service does for a tenant in one region: ingest, delete, list, search, and the golden probe."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

import psycopg2

from demo.platform.parts import digest, refuse_frozen
from demo.service import rows
from demo.service.stores import Document, Stores
from lifecycle.participation import NotOwner, OutcomeUnknown, Participant, digests, route
from lifecycle.participation.routing import has_arrived
from lifecycle.systems.pinecone.names import ascii_name

GOLDEN_USER = "golden-probe"
_SETTLES = 1.0  # seconds in which a vector just stored shows in queries


class Absent(Exception):
    """There is no such document."""


class Behind(Exception):
    """What the caller wrote last is not here yet: another region must answer."""

    def __init__(self, owner: str) -> None:
        super().__init__("The last write has not arrived in this region yet.")
        self.owner = owner


class Service:
    """One region's side. `places` describes every region's servers, as stack.json does."""

    def __init__(self, region: str, places: Mapping[str, Mapping[str, Any]]) -> None:
        self.region = region
        dsn = str(places[region]["postgres"])
        self.reading = rows.Reading(dsn)
        self.participant = Participant(region, lambda: rows.connect(dsn))
        self._stores = {name: Stores(place) for name, place in places.items()}
        self._own = self._stores[region]
        self._checked = 0.0

    def ingest(self, document: Document) -> str:
        """Stores a new document here, the owner; returns the mark of the write. Raises what `Participant.write` does."""
        with self.reading.cursor() as cursor:
            refuse_frozen(cursor, document.tenant, document.user)
            known = route(cursor, document.tenant)
        if known is not None and known.owner != self.region:
            raise NotOwner(known.owner)
        filled = []
        try:
            # Before the transaction: a fence waits for those that run.
            for store in [
                self._own,
                *([self._stores[known.other]] if known and known.soak == "safe" else []),
            ]:
                filled.append(store)
                store.put(document)
            with self.participant.write(document.tenant, document.user) as tx:
                refuse_frozen(tx.cursor, document.tenant, document.user)
                if tx.dual and len(filled) == 1:
                    filled.append(self._other(document.tenant))
                    filled[1].put(document)
                rows.insert(tx.cursor, document)
                tx.put("s3", document.key, digests.of_object(document.text.encode()))
                tx.put("pinecone", document.vector_key, digests.of_vector(document.values, document.metadata))
                refuse_frozen(tx.cursor, document.tenant, document.user)
        except OutcomeUnknown:
            raise
        except psycopg2.IntegrityError:
            raise  # the document of that id is there: its object and vector are this one's
        except BaseException:
            for store in filled:
                store.take_back(document)
            raise
        return tx.mark

    def delete(self, tenant: str, user: str, document: str) -> str:
        """Removes a document everywhere; returns the mark of the write. Raises Absent, or as `ingest`."""
        with self.participant.write(tenant, user) as tx:
            refuse_frozen(tx.cursor, tenant, user)
            key = rows.delete(tx.cursor, tenant, document)
            if key is None:
                raise Absent("There is no such document.")
            tx.delete("s3", key)
            tx.delete("pinecone", Document(tenant, user, document, "", "").vector_key)
        # After the commit: before it, a write that fails would have lost them.
        for store in [self._own, *([self._other(tenant)] if tx.dual else [])]:
            store.remove(tenant, document, key)
        return tx.mark

    def documents(self, tenant: str, mark: str) -> list[dict[str, str]]:
        """The newest documents. Raises Behind when what `mark` stands for is not here yet."""
        with self.reading.cursor() as cursor:
            self._refuse_behind(cursor, tenant, mark)
            return rows.listed(cursor, tenant)

    def search(self, tenant: str, user: str, question: str, mark: str) -> dict[str, list[str]]:
        """Texts nearest to the question and their documents, the best first. Raises Closed, Behind."""
        with self.reading.cursor() as cursor:
            refuse_frozen(cursor, tenant, user)
            self._refuse_behind(cursor, tenant, mark)
            known = route(cursor, tenant)
        # The epoch is part of the name: what was cached before a tenant moved is not read after it came back.
        name = f"query_cache:{tenant}:{known.epoch if known else 0}-{digest(question)[:16]}"
        documents = None if mark else self._own.cached(name)
        for _ in range(2):
            fresh = documents is None
            documents = self._own.nearest(tenant, question) if documents is None else documents
            with self.reading.cursor() as cursor:
                found = rows.texts(cursor, tenant, documents)
            if fresh or len(found) == len(documents):
                break
            documents = None  # a cached document is gone
        if fresh:
            self._own.cache(name, user, [each for each, _ in found])
        return {"answers": [text for _, text in found], "documents": [each for each, _ in found]}

    def golden(self, tenant: str) -> str:
        """Digest of a known answer read from rows, objects and vectors of this region. Raises Absent before it exists."""
        document = _golden(tenant)
        with self.reading.cursor() as cursor:
            found = rows.texts(cursor, tenant, [document.id])
        if not found:
            raise Absent("The golden document is not here.")
        ends = time.monotonic() + _SETTLES
        while document.id not in (near := self._own.nearest(tenant, document.text, 1)):
            if time.monotonic() > ends:
                break
            time.sleep(0.05)
        stored = self._own.read(document.key).decode()
        return digest("\n".join([found[0][1], stored, *near]))

    def golden_write(self, tenant: str) -> int:
        """A write of the tenant here, the owner, read back; makes the golden document if there is none."""
        with self.participant.write(tenant, GOLDEN_USER) as tx:
            tx.cursor.execute(
                "INSERT INTO lifecycle.probe AS p (tenant_id, origin, id) VALUES (%s, %s, 1) "
                "ON CONFLICT (tenant_id, origin) DO UPDATE SET id = p.id + 1, at = clock_timestamp() RETURNING id",
                [tenant, self.region],
            )
            number = int(tx.cursor.fetchone()[0])
        with self.reading.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM lifecycle.probe WHERE tenant_id = %s AND origin = %s", [tenant, self.region]
            )
            row = cursor.fetchone()
            there = bool(rows.texts(cursor, tenant, [_golden(tenant).id]))
        if row is None or row[0] < number:
            raise OutcomeUnknown("what was written could not be read back.")
        if not there:
            with contextlib.suppress(psycopg2.IntegrityError):  # another request made it at this moment
                self.ingest(_golden(tenant))
        return number

    def check(self) -> None:
        """Raises while the region's database or stores don't answer, or the platform's tables don't stand yet."""
        with self.reading.cursor() as cursor:
            cursor.execute("SELECT 1 FROM documents, lifecycle.here LIMIT 1")
        if time.monotonic() - self._checked > 2.0:
            self._own.check()
            self._checked = time.monotonic()

    def owns(self, tenant: str) -> bool:
        """Whether this region owns the tenant's writes now."""
        with self.reading.cursor() as cursor:
            known = route(cursor, tenant)
        return known is not None and known.live

    def _other(self, tenant: str) -> Stores:
        with self.reading.cursor() as cursor:
            known = route(cursor, tenant)
        if known is None or known.other not in self._stores:
            raise OutcomeUnknown("the route names no other region.")
        return self._stores[known.other]

    def _refuse_behind(self, cursor: Any, tenant: str, mark: str) -> None:
        if mark and not has_arrived(cursor, tenant, mark):
            known = route(cursor, tenant)
            if known is not None and known.owner != self.region:
                raise Behind(known.owner)


def new_id() -> str:
    """An id that says nothing of its owner."""
    return f"doc-{secrets.token_hex(8)}"


def _golden(tenant: str) -> Document:
    text = f"The golden answer is {digest(f'golden of {tenant}')}."
    return Document(tenant, GOLDEN_USER, f"golden-{ascii_name(tenant)}", "Golden", text)
