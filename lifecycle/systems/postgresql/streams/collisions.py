"""Keys of the moved tenant that residents of the target have already, or will get: a conflict stops a stream for ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lifecycle.systems.movable import Finding, Move
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams import sequences
from lifecycle.systems.postgresql.streams.database import Database
from lifecycle.systems.postgresql.streams.tables import Moved

_PAGE = 5_000
_INDEXES = """
SELECT i.relname::text, x.indpred IS NOT NULL,
       ARRAY(SELECT pg_get_indexdef(x.indexrelid, k, true) FROM generate_series(1, x.indnkeyatts) k),
       ARRAY(SELECT a.attname::text FROM generate_series(0, x.indnkeyatts - 1) k
             JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k])
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = %s::regclass AND x.indisunique ORDER BY 1"""


@dataclass(frozen=True, slots=True)
class Index:
    """One unique index without the tenant column: what it is made of, as SQL and as columns."""

    name: str
    partial: bool
    parts: tuple[str, ...]
    columns: tuple[str, ...]


def findings(move: Move, source: Database, target: Database, moved: list[Moved]) -> Iterator[Finding]:
    """Findings for each unique index that doesn't begin apart by tenant."""
    filled = {(table, column): sequence for sequence, table, column in sequences.filled(source)}
    for table in moved:
        for index in _without_tenant(source, table):
            taken = _taken(move, source, target, table, index)
            if taken:
                yield Finding(
                    True,
                    f"{taken} keys of {table.name} ({index.name}) are taken by other tenants on the target; the rows can't live "
                    "side by side.",
                )
                continue
            yield from _future(source, target, table, index, filled)


def _without_tenant(database: Database, table: Moved) -> list[Index]:
    rows = database.rows(_INDEXES, [table.quoted.replace("%%", "%")])
    made = [Index(name, partial, tuple(parts), tuple(columns)) for name, partial, parts, columns in rows]
    return [each for each in made if table.tenant not in each.columns]


def _taken(move: Move, source: Database, target: Database, table: Moved, index: Index) -> int:
    """How many of the tenant's keys a resident has. Pages of keys, found by the index."""
    if len(index.columns) < len(index.parts):
        return _taken_expressions(move, source, target, table, index)
    if len(index.columns) == 1 and _apart(move, source, target, table, index.columns[0]):
        return 0
    columns = ", ".join(q(c) for c in index.columns)
    types = [table.types[c] for c in index.columns]
    taken = 0
    after: list[str] | None = None
    # Other names than the columns': else ORDER BY would sort numbers as texts.
    texts = ", ".join(f"{q(c)}::text AS text{n}" for n, c in enumerate(index.columns))
    while True:
        where, params = f"{q(table.tenant)} = %s", [move.tenant]
        if after is not None:
            where += f" AND ({columns}) > ({', '.join(f'%s::{t}' for t in types)})"
            params += after
        page = source.rows(
            f"SELECT {texts} FROM {table.quoted} WHERE {where} ORDER BY {columns} LIMIT {_PAGE}", params
        )
        if not page:
            return taken
        unnested = ", ".join(f"%s::{t}[]" for t in types)
        names = ", ".join(f"k{n}" for n in range(len(types)))
        taken += int(
            target.one(
                f"SELECT count(*) FROM {table.quoted} t JOIN unnest({unnested}) k({names}) "
                f"ON ({', '.join('t.' + q(c) for c in index.columns)}) = ({', '.join(f'k.k{n}' for n in range(len(types)))})",
                [[row[n] for row in page] for n in range(len(types))],
            )
        )
        if len(page) < _PAGE:
            return taken
        after = [str(value) for value in page[-1]]


def _apart(move: Move, source: Database, target: Database, table: Moved, column: str) -> bool:
    """Nothing of the target lies between the tenant's lowest and highest key: no page of keys need be read."""
    if table.types[column] not in ("bigint", "integer", "smallint", "text"):
        return False
    low, high = source.rows(
        f"SELECT min({q(column)})::text, max({q(column)})::text FROM {table.quoted} WHERE {q(table.tenant)} = %s",
        [move.tenant],
    )[0]
    kind = table.types[column]
    there = target.one(
        f"SELECT 1 FROM {table.quoted} WHERE {q(column)} BETWEEN %s::{kind} AND %s::{kind} LIMIT 1",
        [low, high],
    )
    return there is None


def _taken_expressions(move: Move, source: Database, target: Database, table: Moved, index: Index) -> int:
    texts = ", ".join(f"({part})::text" for part in index.parts).replace("%", "%%")
    keys = source.rows(
        f"SELECT ARRAY[{texts}] FROM {table.quoted} WHERE {q(table.tenant)} = %s", [move.tenant]
    )
    taken = 0
    for start in range(0, len(keys), _PAGE):
        wanted = ["\x1f".join(str(v) for v in row[0]) for row in keys[start : start + _PAGE]]
        taken += int(
            target.one(
                f"SELECT count(*) FROM {table.quoted} WHERE array_to_string(ARRAY[{texts}], E'\\x1f') = ANY(%s)",
                [wanted],
            )
        )
    return taken


def _future(
    source: Database, target: Database, table: Moved, index: Index, filled: dict[tuple[str, str], str]
) -> Iterator[Finding]:
    """Numbers that both regions would give from now on."""
    mine, theirs = sequences.read(source), sequences.read(target)
    name = f"{table.schema}.{table.name}"
    for column in index.columns:
        given = next((s for (t, c), s in filled.items() if t.replace('"', "") == name and c == column), None)
        if given is None:
            continue
        schema, _, sequence = given.replace('"', "").partition(".")
        one, other = mine.get((schema, sequence)), theirs.get((schema, sequence))
        if one and other and not sequences.disjoint(one, other):
            yield Finding(
                True,
                f"{table.name}.{column}: both regions give numbers of the same range ({given}), and {index.name} does not hold "
                "the tenant: rows would collide. Give the regions ranges of their own (setval, or another remainder).",
            )
