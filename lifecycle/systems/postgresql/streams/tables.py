"""Which tables move with a tenant, and what each needs before it can: a tenant column, and an identity that holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lifecycle.datamap.model import DataMap, Handling, Table
from lifecycle.systems.base import Permanent
from lifecycle.systems.postgresql import catalog as catalogs
from lifecycle.systems.postgresql.catalog import Catalog
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams.database import Database

COLUMN = "tenant_id"  # what a table without a tenant column gets


@dataclass(frozen=True, slots=True)
class Parent:
    """Where a table without an owner of its own finds its tenant: column pairs (own, the parent's)."""

    table: str
    tenant: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """One table of one database, as a move sees it. `lacks` says what stops it from being published; "" = ready."""

    name: str
    schema: str
    owner: str
    tenant: str
    tenant_type: str
    key: tuple[str, ...]  # the primary key; () where there is none
    columns: tuple[str, ...]
    types: Mapping[str, str]
    generated: frozenset[str]
    parents: tuple[Parent, ...]
    large_object: str | None
    partitioned: bool
    has_column: bool
    required: bool  # the tenant column is NOT NULL
    identity: str  # d default, i index, f full, n nothing
    identity_columns: tuple[str, ...]

    @property
    def quoted(self) -> str:
        """`"schema"."table"`, for templates."""
        return f"{q(self.schema)}.{q(self.name)}"

    @property
    def derived(self) -> bool:
        """The tenant column is ours: filled by triggers from the parent."""
        return bool(self.parents)

    @property
    def identified(self) -> bool:
        """The replica identity holds the tenant column and finds one row (or is all of it, where there is no key)."""
        if self.identity == "f":
            return not self.key
        return self.tenant in self.identity_columns

    @property
    def lacks(self) -> str:
        if not self.has_column:
            return "has no tenant column"
        if not self.required:
            return f"allows rows without {self.tenant}"
        return "" if self.identified else "has a replica identity without the tenant column"

    @property
    def order(self) -> tuple[str, ...]:
        """The key's columns beside the tenant; what ranges are made of."""
        return tuple(name for name in self.key if name != self.tenant)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """What a difference's key is made of: the primary key, else the whole row."""
        return self.key or tuple(name for name in self.columns if name != self.large_object)


_STATE = """
SELECT c.relname, pg_get_userbyid(c.relowner), c.relreplident,
       ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey::int2[]) k(n)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.n
             WHERE i.indrelid = c.oid AND i.indisvalid
               AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary ELSE false END)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND c.relname = ANY(%s)"""


def read(database: Database, datamap: DataMap) -> list[Moved]:
    """The moved tables of one database, parents before children. Raises Permanent for one that does not exist."""
    relations = datamap.relations
    catalog = database.catalog(relations.schema)
    tables = [t for t in relations.tables if t.handling is not Handling.KEEP and not t.elsewhere]
    rows = database.rows(_STATE, [relations.schema, [t.name for t in tables]])
    state = {name: (owner, identity, tuple(columns)) for name, owner, identity, columns in rows}
    ordered = [t for t in reversed(catalogs.children_first(catalog, relations)) if t in tables]
    made: dict[str, Moved] = {}
    for table in _after_parents(ordered):
        if table.name not in state:
            raise Permanent(f"The data map names table {table.name}, which schema {relations.schema} lacks.")
        made[table.name] = _moved(table, catalog, made, *state[table.name])
    return [made[t.name] for t in ordered]


def _after_parents(tables: Sequence[Table]) -> list[Table]:
    """In an order where each table's `via` parents stand before it, whatever circles foreign keys make."""
    known = {t.name: t for t in tables}
    done: dict[str, Table] = {}

    def visit(table: Table) -> None:
        if table.name in done:
            return
        for parent, _ in table.via:
            if parent in known:
                visit(known[parent])
        done[table.name] = table

    for table in tables:
        visit(table)
    return list(done.values())


def _moved(
    table: Table,
    catalog: Catalog,
    known: dict[str, Moved],
    owner: str,
    identity: str,
    identity_columns: tuple[str, ...],
) -> Moved:
    relation = catalog.relation(table.name)
    parents: tuple[Parent, ...] = ()
    if not table.tenant:
        parents = tuple(
            Parent(parent, known[parent].tenant, catalog.link(table.name, column, parent))
            for parent, column in table.via
        )
    tenant = table.tenant or COLUMN
    column = relation.columns.get(tenant)
    kind = column.type if column else known[parents[0].table].tenant_type if parents else "text"
    return Moved(
        name=table.name,
        schema=catalog.schema,
        owner=owner,
        tenant=tenant,
        tenant_type=kind,
        key=relation.primary,
        columns=tuple(relation.columns),
        generated=frozenset(name for name, each in relation.columns.items() if each.generated),
        types={name: each.type for name, each in relation.columns.items()},
        parents=parents,
        large_object=table.large_object,
        partitioned=relation.kind == "p",
        has_column=column is not None,
        required=column is not None and column.required,
        identity=identity,
        identity_columns=identity_columns,
    )


def unprepared(tables: Sequence[Moved], region: str) -> list[str]:
    """A sentence for each table that a move can't publish yet."""
    return [
        f"{region}: table {table.name} {table.lacks}. Run `manage.py datamap prepare --region {region}`."
        for table in tables
        if table.lacks
    ]
