"""The raw search: every text, JSON, bytea and array column of every table and view, classified or not, and every
large object, for the subject's identifiers and canaries."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from psycopg2.extensions import cursor as Cursor

from lifecycle.datamap.model import Handling
from lifecycle.systems.base import Hit, Page, Transient
from lifecycle.systems.needles import CANARY, ID, NAME, Found, Needles
from lifecycle.systems.postgresql.claims import Claims, Reader, pairs
from lifecycle.systems.postgresql.recheck import LARGE_OBJECT, Recheck
from lifecycle.systems.postgresql.sieve import Sieve, copy_statement
from lifecycle.systems.postgresql.sight import Seen, Sight, ident, literal_array, reading

_CANARIES, _TENANT, _ALL = "canaries", "tenant", "all"
_SECONDS = 5.0
_MOST = 5_000
_BLOCKS = 2_048
_ROWS = 1_000
_OBJECT_PIECE = 1 << 20
_OBJECT_OVERLAP = 4_096

Step = tuple[str, str]  # phase, relation (or `large_object`)


class Sweep:
    """One scope's raw search. Canaries come first, so that whoever only asks whether they are seen needs no more."""

    def __init__(self, sight: Sight, scope_reader: Reader) -> None:
        self.sight = sight
        self.reader = scope_reader
        self.scope = scope_reader.scope
        self.recheck = Recheck(sight, scope_reader)
        self.own = Needles.of(self.scope)
        self.foreign = Needles.of(self.scope, foreign=True)
        self.canaries = Needles((), (), (), self.scope.canaries)

    def page(self, cursor: Any) -> Page[Hit]:
        """Hits of about five seconds of searching; `cursor` says where to go on."""
        self._refuse_prepared()
        steps = self._steps()
        at = [list(step) for step in steps].index(list(cursor["step"])) if cursor else 0
        block = cursor["block"] if cursor else 0
        hits: list[Hit] = []
        began = time.monotonic()
        while at < len(steps) and len(hits) < _MOST and time.monotonic() - began < _SECONDS:
            found, block = self._piece(steps[at], block)
            hits += found
            if block is None:
                at, block = at + 1, 0
        return Page(hits, {"step": list(steps[at]), "block": block} if at < len(steps) else None)

    def _steps(self) -> list[Step]:
        """Names sort in one way only, so that a cursor keeps its meaning while nothing is created or dropped."""
        names = [f"{each.schema}.{each.name}" for each in self.sight.seen]
        made: list[Step] = []
        if self.scope.canaries:
            made += [(_CANARIES, name) for name in [*names, LARGE_OBJECT]]
        if self.scope.subject.user is None:
            made += [(_TENANT, name) for name in names]
        if self.scope.subject.user or self.scope.subject.mails or self.scope.subject.names:
            made += [(_ALL, name) for name in [*names, LARGE_OBJECT]]
        return made

    def _refuse_prepared(self) -> None:
        ((count,),) = self.sight.rows(
            "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"
        )
        if count:
            raise Transient(
                f"{count} prepared transactions hold rows that nobody can see: commit or roll them back."
            )

    def _piece(self, step: Step, block: int) -> tuple[list[Hit], int | None]:
        phase, name = step
        if name == LARGE_OBJECT:
            return self._objects(phase, block)
        each = next(seen for seen in self.sight.seen if f"{seen.schema}.{seen.name}" == name)
        if phase == _TENANT:
            return self._of_tenant(each), None
        if not each.searched:
            return [], None
        return self._blocks(phase, each, block)

    def _blocks(self, phase: str, each: Seen, block: int) -> tuple[list[Hit], int | None]:
        """Sieves some blocks of a relation and reads the candidates properly, in one snapshot."""
        ((size,),) = self.sight.rows(
            "SELECT pg_relation_size(%(oid)s::regclass) / current_setting('block_size')::int",
            {"oid": each.oid},
        )
        sieve = Sieve(self.canaries if phase == _CANARIES else self.own, each)
        with reading(), self.sight.connection as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.copy_expert(copy_statement(each, block, block + _BLOCKS), sieve)
            sieve.flush()
            hits = list(self._read(cursor, phase, each, sieve.places))
        hits = [hit for hit in hits if not (hit.belongs and self._is_needed(each, hit))]
        after = block + _BLOCKS
        return hits, after if after < size else None

    def _is_needed(self, each: Seen, hit: Hit) -> bool:
        return hit.needle != CANARY and self.recheck.needed(each, hit.key)

    def _read(self, cursor: Cursor, phase: str, each: Seen, places: Sequence[str]) -> Iterator[Hit]:
        claims = self.reader.claims(each)
        columns = ", ".join(
            f"a.{ident(name)}" if each.types[name] == "bytea" else f"a.{ident(name)}::text"
            for name in each.searched
        )
        statement = (
            f"SELECT {each.key_sql('a')}, ({self.reader.kept_sql(each)}) IS TRUE, {columns}, {claims.columns} "
            f"FROM ONLY {each.sql} a {claims.joins} WHERE a.ctid = ANY(%(places)s::tid[])"
        )
        for start in range(0, len(places), _ROWS):
            part = literal_array(places[start : start + _ROWS])
            cursor.execute(statement, {**self.reader.params(each), "places": part})
            for key, kept, *rest in cursor.fetchall():
                hit = self._judge(phase, each, claims, key, kept, rest)
                if hit is not None:
                    yield hit

    def _judge(
        self, phase: str, each: Seen, claims: Claims, key: str, kept: bool, rest: list[Any]
    ) -> Hit | None:
        width = len(each.searched)
        owners = pairs(tuple(rest[width:])) if claims.all else []
        mine = self.reader.is_mine(owners, each)
        if self.reader.is_spared(owners) or (mine and kept):
            return None
        tenant = self.reader.tenant_of(owners)
        needles = self.foreign if tenant not in (None, self.scope.subject.tenant) else self.own
        needles = self.canaries if phase == _CANARIES else needles
        for column, value in zip(each.searched, rest[:width], strict=True):
            found = needles.find(value) if value is not None else None
            if found is None or (found.kind == NAME and not mine and self._is_own_name(each, column)):
                continue
            if kept and found.kind != CANARY and self._is_detached(each, column):
                continue
            return self._hit(each, key, column, needles, value, found, mine)
        return None

    def _is_detached(self, each: Seen, column: str) -> bool:
        """A column that the erasure would empty; in a row that is held or retained it stays, and is the subject's own."""
        table = self.sight.mapped(each)
        return table is not None and column in table.detach

    def _is_own_name(self, each: Seen, column: str) -> bool:
        """Where the map says that a column is its row's own person's name, it is a namesake's."""
        table = self.sight.mapped(each)
        return table is not None and column in table.names

    def _hit(
        self, each: Seen, key: str, column: str, needles: Needles, value: Any, found: Found, mine: bool
    ) -> Hit:
        return Hit(
            kind=self.sight.kind_of(each),
            key=f'{{"row": {key}}}',
            place=f"{each.schema}.{each.name}.{column}",
            needle=found.kind,
            belongs=mine or found.kind == CANARY,
            excerpt=needles.excerpt(value, found),
        )

    def _of_tenant(self, each: Seen) -> list[Hit]:
        """Rows whose tenant column is exactly the tenant's id: retained and held ones aside, none may be left."""
        table = self.sight.mapped(each)
        claims = self.reader.claims(each)
        own = [claim for claim in claims.all if claim.own]
        if not own or (table is not None and table.handling is Handling.KEEP):
            return []
        conditions = [f"{own[0].tenant} = %(tenant)s", f"({self.reader.kept_sql(each)}) IS NOT TRUE"]
        conditions.append(f"NOT coalesce({own[0].user} = ANY(%(spared)s::text[]), FALSE)")
        if table is not None and table.handling is Handling.ANONYMISE:
            conditions.append(self.reader.differs_sql(each))
        rows = self.sight.rows(
            f"SELECT {each.key_sql('a')} FROM {each.sql} a {claims.joins} WHERE {' AND '.join(conditions)} LIMIT {_MOST}",
            self.reader.params(each),
        )
        place = f"{each.schema}.{each.name}"
        kind = self.sight.kind_of(each)
        hits = [Hit(kind, f'{{"row": {key}}}', place, ID, belongs=True) for (key,) in rows]
        return [hit for hit in hits if not self._is_needed(each, hit)]

    def _objects(self, phase: str, after: int) -> tuple[list[Hit], int | None]:
        """A few hundred large objects' bytes, in oid order."""
        rows = self.sight.rows(
            "SELECT oid::bigint FROM pg_largeobject_metadata WHERE oid::bigint > %(after)s ORDER BY oid LIMIT 300",
            {"after": after},
        )
        needles = self.canaries if phase == _CANARIES else self.own
        hits = []
        for (oid,) in rows:
            hit = self._object(oid, needles)
            if hit is not None:
                hits.append(hit)
        return hits, int(rows[-1][0]) if rows else None

    def _object(self, oid: int, needles: Needles) -> Hit | None:
        offset = 0
        while True:
            ((piece,),) = self.sight.rows(
                "SELECT lo_get(%(oid)s::oid, %(offset)s, %(size)s)",
                {"oid": oid, "offset": offset, "size": _OBJECT_PIECE},
            )
            data = bytes(piece)
            found = needles.find(data)
            if found is not None:
                return self._object_hit(oid, needles, data, found)
            if len(data) < _OBJECT_PIECE:
                return None
            offset += _OBJECT_PIECE - _OBJECT_OVERLAP

    def _object_hit(self, oid: int, needles: Needles, data: bytes, found: Found) -> Hit | None:
        pointing = list(self.recheck.pointing(str(oid)))
        mine = bool(pointing) and all(is_mine for _, is_mine, _ in pointing)
        if mine and any(kept for _, _, kept in pointing):
            return None
        foreign = bool(pointing) and all(t not in (None, self.scope.subject.tenant) for t, _, _ in pointing)
        if foreign and found.kind == ID and not self.foreign.find(data):
            return None
        return Hit(
            LARGE_OBJECT,
            f'["{oid}"]' if mine else f'{{"row": ["{oid}"]}}',
            LARGE_OBJECT,
            found.kind,
            belongs=mine or found.kind == CANARY,
            excerpt=needles.excerpt(data, found),
        )
