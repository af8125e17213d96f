"""How the verifier sees a database: its own reading of the catalogs, of whose a row is, and of what row keys are.

Nothing here is shared with the eraser. The role is read-only; row security is switched off, so that a policy that
would hide rows makes the query fail instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from lifecycle.datamap.model import DataMap, Table
from lifecycle.systems.base import Permanent, Transient

_START = (
    "SET default_transaction_read_only = on; SET row_security = off; SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; "
    "SET intervalstyle = 'iso_8601'; SET bytea_output = 'hex'; SET statement_timeout = '180s'; SET lock_timeout = '20s'; "
    "SET jit = off; SET cursor_tuple_fraction = 1.0"
)
_UNSEARCHED = frozenset(
    [
        "boolean",
        "real",
        "double precision",
        "numeric",
        "money",
        "oid",
        "date",
        "interval",
        "point",
        "line",
        "lseg",
    ]
    + [
        "box",
        "path",
        "polygon",
        "circle",
        "pg_lsn",
        "tid",
        "xid",
        "bit",
        "bit varying",
        "vector",
        "halfvec",
        "sparsevec",
    ]
    + [f"{kind} {zone} time zone" for kind in ("time", "timestamp") for zone in ("with", "without")]
)
_NUMBERS = frozenset({"smallint", "integer", "bigint"})

_SEEN = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, has_table_privilege(c.oid, 'SELECT'),
       coalesce((SELECT r.relname FROM pg_partition_ancestors(c.oid) p JOIN pg_class r ON r.oid = p.relid
                 ORDER BY r.relispartition LIMIT 1), c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\\_toast%%' AND n.nspname NOT LIKE 'pg\\_temp%%'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = c.oid AND e.classid = 'pg_class'::regclass AND e.deptype = 'e')
ORDER BY n.nspname, c.relname"""
_FIELDS = """
SELECT attrelid::bigint, attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = ANY(%(oids)s) AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum"""
_KEYS = """
SELECT i.indrelid::bigint, a.attname, format_type(a.atttypid, NULL) FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(n, o)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n
WHERE i.indisprimary AND k.o <= i.indnkeyatts AND i.indrelid = ANY(%(oids)s) ORDER BY i.indrelid, k.o"""
_LINKS = """
SELECT conrelid::bigint, confrelid::bigint, confdeltype::text, o.own, o.other FROM pg_constraint f
CROSS JOIN LATERAL (
    SELECT array_agg(x.attname::text ORDER BY k.n) AS own, array_agg(y.attname::text ORDER BY k.n) AS other
    FROM unnest(f.conkey, f.confkey) WITH ORDINALITY k(a, b, n)
    JOIN pg_attribute x ON x.attrelid = f.conrelid AND x.attnum = k.a
    JOIN pg_attribute y ON y.attrelid = f.confrelid AND y.attnum = k.b) o
WHERE f.contype = 'f' AND f.conrelid = ANY(%(oids)s)"""


def ident(*parts: str) -> str:
    """A quoted name for statements with parameters."""
    return ".".join('"' + part.replace('"', '""').replace("%", "%%") + '"' for part in parts)


@dataclass(frozen=True)
class Link:
    """A foreign key as the verifier reads it."""

    child: int
    parent: int
    own: tuple[str, ...]
    other: tuple[str, ...]
    on_delete: str


@dataclass
class Seen:
    """One relation that the verifier reads."""

    oid: int
    schema: str
    name: str
    kind: str
    root: str  # of a partition: the table that it is a part of
    types: dict[str, str] = field(default_factory=dict)
    key: list[tuple[str, str]] = field(default_factory=list)  # column, type

    @property
    def sql(self) -> str:
        return ident(self.schema, self.name)

    @property
    def whole(self) -> str:
        """The table with all its partitions."""
        return ident(self.schema, self.root)

    @property
    def searched(self) -> list[str]:
        """Columns whose text may name somebody."""
        return [name for name, kind in self.types.items() if _is_searched(name, kind)]

    def among(self, keys: Sequence[str]) -> tuple[str, dict[str, str]]:
        """SQL and parameters: row `a` is one of these keys of the manifest."""
        columns = _values(keys, len(self.key) or 2)
        if not self.key:
            places, hashes = map(literal_array, columns)
            return "a.ctid = ANY(%(k0)s::tid[]) AND md5(a::text) = ANY(%(k1)s::text[])", {
                "k0": places,
                "k1": hashes,
            }
        params = {f"k{i}": literal_array(column) for i, column in enumerate(columns)}
        if len(self.key) == 1:
            return f"a.{ident(self.key[0][0])} = ANY(%(k0)s::{self.key[0][1]}[])", params
        own = ", ".join(f"a.{ident(column)}" for column, _ in self.key)
        lists = ", ".join(f"%(k{i})s::{kind}[]" for i, (_, kind) in enumerate(self.key))
        return f"({own}) IN (SELECT * FROM unnest({lists}))", params

    def key_sql(self, a: str) -> str:
        """The row's key as the manifest writes it: JSON text of the key's values, or place and hash of the row."""
        if self.key:
            return f"json_build_array({', '.join(f'{a}.{ident(c)}::text' for c, _ in self.key)})::text"
        return f"json_build_array({a}.ctid::text, md5({a}::text))::text"


def _is_searched(name: str, kind: str) -> bool:
    base = kind.removesuffix("[]")
    if base in _NUMBERS:
        return any(
            word in name.lower()
            for word in ("user", "owner", "author", "actor", "person", "member", "account")
        )
    return base not in _UNSEARCHED and base.split("(")[0] not in _UNSEARCHED


class Sight:
    """One read-only connection with what its catalogs say."""

    def __init__(self, dsn: str, datamap: DataMap) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None
        self.relations = datamap.relations
        self.tables: dict[str, Table] = {table.name: table for table in datamap.relations.tables}
        self._seen: list[Seen] | None = None
        self.links: list[Link] = []

    @property
    def connection(self) -> Connection:
        if self._connection is None or self._connection.closed:
            try:
                self._connection = psycopg2.connect(
                    self._dsn, connect_timeout=5, application_name="lifecycle-verifier"
                )
            except psycopg2.OperationalError:
                raise Transient(
                    "PostgreSQL does not answer the verifier. Is the server up, and its address right?"
                ) from None
            with self._connection.cursor() as cursor:
                cursor.execute(_START)
            self._connection.commit()
        return self._connection

    @property
    def seen(self) -> list[Seen]:
        if self._seen is None:
            self._seen = self._look()
        return self._seen

    def named(self, kind: str) -> Seen | None:
        """The relation that an item's kind names: of the map's schema, or `schema.table`."""
        schema = self.relations.schema
        for each in self.seen:
            if (
                each.schema == schema and kind in (each.name, each.root)
            ) or kind == f"{each.schema}.{each.name}":
                return each
        return None

    def kind_of(self, each: Seen) -> str:
        return each.root if each.schema == self.relations.schema else f"{each.schema}.{each.name}"

    def mapped(self, each: Seen) -> Table | None:
        own = each.schema == self.relations.schema
        return self.tables.get(each.root if own else f"{each.schema}.{each.root}")

    def by_oid(self, oid: int) -> Seen | None:
        return next((each for each in self.seen if each.oid == oid), None)

    def rows(self, statement: str, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of one query, in a transaction of its own that leaves no snapshot open."""
        with reading(), self.connection as connection, connection.cursor() as cursor:
            cursor.execute(statement, params or {})
            return cursor.fetchall()

    def stream(self, statement: str, params: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """Rows of one query by a server-side cursor."""
        with reading(), self.connection as connection, connection.cursor(name="watching") as cursor:
            cursor.itersize = 20_000
            cursor.execute(statement, params or {})
            yield from cursor

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _look(self) -> list[Seen]:
        made = []
        for oid, schema, name, kind, readable, root in self.rows(_SEEN):
            if not readable:
                raise Permanent(
                    f"The verifier's role may not read {schema}.{name}: grant it SELECT on every table and view."
                )
            made.append(Seen(oid, schema, name, kind, root))
        known = {each.oid: each for each in made}
        oids = {"oids": list(known)}
        for oid, column, kind in self.rows(_FIELDS, oids):
            known[oid].types[column] = kind
        for oid, column, kind in self.rows(_KEYS, oids):
            known[oid].key.append((column, kind))
        for each in made:
            table = self.mapped(each)
            if not each.key and table is not None:
                each.key = [(column, each.types[column]) for column in table.key if column in each.types]
        self.links = [
            Link(c, p, tuple(own), tuple(other), rule) for c, p, rule, own, other in self.rows(_LINKS, oids)
        ]
        return made


@contextmanager
def reading() -> Iterator[None]:
    """Driver errors as the contract names them, without the server's text."""
    try:
        yield
    except errors.InsufficientPrivilege:
        raise Permanent(
            "The verifier's role may not read everything: grant it SELECT on tables, views and large objects."
        ) from None
    except (
        errors.QueryCanceled,
        errors.LockNotAvailable,
        errors.SerializationFailure,
        errors.DeadlockDetected,
    ):
        raise Transient("PostgreSQL took too long for the verifier's query; it is tried again.") from None
    except (psycopg2.OperationalError, psycopg2.InterfaceError):
        raise Transient("The verifier's connection to PostgreSQL broke.") from None
    except psycopg2.Error as error:
        raise Permanent(f"PostgreSQL refuses a query of the verifier (SQLSTATE {error.pgcode}).") from None


def _values(keys: Sequence[str], width: int) -> list[list[str]]:
    """The values of many keys, column by column; `["a","b"]` and `{"row": ["a","b"]}` parsed as one flat list."""
    inside = [key[key.index("[") + 1 : key.rindex("]")] for key in keys]
    flat: list[str] = orjson.loads("[" + ",".join(inside) + "]")
    if len(flat) != width * len(keys):
        raise Permanent("A key of the manifest does not have as many columns as its table's key.")
    return [flat[at::width] for at in range(width)]


def literal_array(values: Sequence[str]) -> str:
    """The text of a PostgreSQL array of texts."""
    whole = "".join(values)
    if values and not ("\\" in whole or '"' in whole):
        return '{"' + '","'.join(values) + '"}'
    return (
        "{" + ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "}"
    )
