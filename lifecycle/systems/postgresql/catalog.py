"""What the eraser needs of PostgreSQL's catalogs: columns, keys, foreign keys, views of one schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from psycopg2.extensions import cursor as Cursor

from lifecycle.datamap.model import Relations, Table
from lifecycle.systems.base import Permanent
from lifecycle.systems.postgresql.session import q

TEXT_TYPES = frozenset({"text", "character varying", "character", "citext", "json", "jsonb", "bytea", "name"})


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str  # as format_type() without a length writes it
    required: bool
    default: bool  # has a default, or is generated
    generated: bool
    kind: str  # pg_type.typcategory
    labels: tuple[str, ...] = ()  # of an enum


@dataclass(frozen=True, slots=True)
class ForeignKey:
    child: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str  # a no action, r restrict, c cascade, n set null, d set default


@dataclass(frozen=True)
class Relation:
    """One table or materialised view with its columns and key."""

    name: str
    kind: str  # r, p, m
    columns: dict[str, Column]
    primary: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def text_columns(self) -> tuple[str, ...]:
        return tuple(name for name, column in self.columns.items() if is_textual(column))


@dataclass
class Catalog:
    schema: str
    relations: dict[str, Relation] = field(default_factory=dict)
    foreign_keys: list[ForeignKey] = field(default_factory=list)

    def quoted(self, name: str) -> str:
        """`schema.table` for SQL; a name with a dot is a table of another schema."""
        if "." in name:
            schema, _, rest = name.partition(".")
            return f"{q(schema)}.{q(rest)}"
        return f"{q(self.schema)}.{q(name)}"

    def relation(self, name: str) -> Relation:
        known = self.relations.get(name)
        if known is None:
            raise Permanent(f"The data map names table {name}, which schema {self.schema} does not have.")
        return known

    def referencing(self, name: str) -> list[ForeignKey]:
        """Foreign keys that point to this table."""
        return [each for each in self.foreign_keys if each.parent == name]

    def link(self, child: str, column: str, parent: str) -> tuple[tuple[str, str], ...]:
        """The column pairs (child, parent) by which `child.column` leads to `parent`."""
        for each in self.foreign_keys:
            if each.child == child and each.parent == parent and column in each.columns:
                return tuple(zip(each.columns, each.parent_columns, strict=True))
        primary = self.relation(parent).primary
        if len(primary) != 1:
            raise Permanent(
                f"Table {child} leads to {parent} by {column}, but {parent} has no key of one column."
            )
        return ((column, primary[0]),)


def is_textual(column: Column) -> bool:
    base = column.type.removesuffix("[]")
    return base in TEXT_TYPES or base.startswith(("character varying", "character("))


_RELATIONS = """
SELECT c.oid, CASE n.nspname WHEN %(schema)s THEN c.relname ELSE n.nspname || '.' || c.relname END, c.relkind
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname = %(schema)s OR n.nspname || '.' || c.relname = ANY(%(others)s)) AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition"""
_COLUMNS = """
SELECT a.attrelid, a.attname, format_type(a.atttypid, NULL), a.attnotnull,
       a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a', t.typcategory,
       ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY(%(oids)s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum"""
_INDEXES = """
SELECT i.indrelid, i.indisprimary, ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(n, o)
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE k.o <= i.indnkeyatts ORDER BY k.o)
FROM pg_index i WHERE i.indrelid = ANY(%(oids)s) AND i.indisunique AND i.indpred IS NULL AND NOT 0 = ANY(i.indkey)"""
_FOREIGN = """
SELECT f.conrelid, f.confrelid, f.confdeltype,
       ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY k(n, o)
             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.n ORDER BY k.o),
       ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY k(n, o)
             JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.n ORDER BY k.o),
       n.nspname || '.' || c.relname
FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f' AND f.confrelid = ANY(%(oids)s) AND f.conparentid = 0"""


def read(cursor: Cursor, schema: str, others: Sequence[str] = ()) -> Catalog:
    """The catalog of one schema, and of `others` (`schema.table`), as it is now."""
    cursor.execute(_RELATIONS, {"schema": schema, "others": list(others)})
    names = {oid: (name, kind) for oid, name, kind in cursor.fetchall()}
    oids = {"oids": list(names)}
    columns: dict[int, dict[str, Column]] = {oid: {} for oid in names}
    cursor.execute(_COLUMNS, oids)
    for oid, name, kind, required, default, generated, category, labels in cursor.fetchall():
        columns[oid][name] = Column(name, kind, required, default, generated, category, tuple(labels))
    primary: dict[int, tuple[str, ...]] = {}
    unique: dict[int, list[tuple[str, ...]]] = {}
    cursor.execute(_INDEXES, oids)
    for oid, is_primary, key in cursor.fetchall():
        unique.setdefault(oid, []).append(tuple(key))
        if is_primary:
            primary[oid] = tuple(key)
    made = Catalog(schema)
    for oid, (name, kind) in names.items():
        made.relations[name] = Relation(
            name, kind, columns[oid], primary.get(oid, ()), tuple(unique.get(oid, ()))
        )
    cursor.execute(_FOREIGN, oids)
    for child, parent, on_delete, own, other, full in cursor.fetchall():
        child_name = names[child][0] if child in names else full
        made.foreign_keys.append(
            ForeignKey(child_name, tuple(own), names[parent][0], tuple(other), on_delete)
        )
    return made


def children_first(catalog: Catalog, relations: Relations) -> list[Table]:
    """The map's tables, each before the tables that it points to; a circle is cut where it is met."""
    tables = {table.name: table for table in relations.tables}
    points: dict[str, set[str]] = {name: set() for name in tables}
    for name, table in tables.items():
        points[name] |= {parent for parent, _ in table.via}
        for child, _ in table.shared_through:
            points[child].add(name)
    for each in catalog.foreign_keys:
        if each.child in points:
            points[each.child].add(each.parent)
    order: list[Table] = []
    state: dict[str, int] = {}

    def visit(name: str) -> None:
        if name not in tables or name in state:
            return
        state[name] = 1
        for parent in sorted(points[name] - {name}):
            visit(parent)
        order.append(tables[name])

    for name in tables:
        visit(name)
    return order[::-1]
