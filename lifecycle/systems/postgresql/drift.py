"""What lies in the database and stands nowhere in the data map: each one blocks an erasure, by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lifecycle.datamap.drift import looks_personal, names_a_user
from lifecycle.datamap.model import DataMap, Table
from lifecycle.systems.base import Permanent
from lifecycle.systems.postgresql.sight import Seen, Sight

_FOREIGN = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'f' ORDER BY 1"""


def unclassified(place: Mapping[str, str], datamap: DataMap) -> list[str]:
    """Sentences naming tables, views and columns that nobody classified, and entries of the map that nothing matches.

    Raises Transient when the database does not answer.
    """
    if not place.get("reader_dsn"):
        raise Permanent("The environment has no 'reader_dsn' for postgresql: the drift check reads with it.")
    sight = Sight(place["reader_dsn"], datamap)
    try:
        return [*_relations(sight), *_columns(sight), *_missing(sight)]
    finally:
        sight.close()


def _relations(sight: Sight) -> Iterator[str]:
    for each in sight.seen:
        name = sight.kind_of(each)
        if each.kind == "m" and (
            each.schema != sight.relations.schema or each.name not in sight.relations.views
        ):
            yield f"PostgreSQL: materialised view {name} is not listed under `views` in the data map."
        if each.kind == "r" and sight.mapped(each) is None and each.name == _first_part(sight, each):
            yield f"PostgreSQL: nobody classified table {name}."
    for (name,) in sight.rows(_FOREIGN):
        yield f"PostgreSQL: foreign table {name} leads to another system; list that system under `recipients` and drop it."


def _first_part(sight: Sight, each: Seen) -> str:
    """One sentence for a partitioned table, not one per partition."""
    return next(other.name for other in sight.seen if (other.schema, other.root) == (each.schema, each.root))


def _columns(sight: Sight) -> Iterator[str]:
    for each in sight.seen:
        table = sight.mapped(each)
        if table is None or each.name != _first_part(sight, each):
            continue
        known = _classified(table)
        for column, kind in each.types.items():
            if column in known:
                continue
            if kind == "oid":
                yield f"PostgreSQL: column {each.root}.{column} may point to large objects; name it under `large_object`."
            elif looks_personal(column):
                yield f"PostgreSQL: column {each.root}.{column} looks personal; name it under `personal`, `mails` or `names`."
            elif names_a_user(column):
                yield f"PostgreSQL: column {each.root}.{column} seems to name a user; name it under `user`, `detach` or `personal`."


def _classified(table: Table) -> set[str]:
    known = {table.tenant, table.user, table.dated, table.large_object}
    for names in (table.personal, table.detach, table.mails, table.names, table.key):
        known |= set(names)
    known |= {column for column, _ in (*table.set, *table.anchor_columns)} | {
        column for _, column in table.via
    }
    return {name for name in known if name}


def _missing(sight: Sight) -> Iterator[str]:
    """A map that names what is not there would erase nothing and say so."""
    for table in sight.tables.values():
        each = sight.named(table.name)
        if each is None:
            yield f"PostgreSQL: the data map names table {table.name}, which does not exist."
            continue
        for column in sorted(_classified(table) | {name for name, _ in table.canary}):
            if column not in each.types:
                yield f"PostgreSQL: the data map names column {table.name}.{column}, which does not exist."
    live = {each.name for each in sight.seen if each.kind == "m"}
    for view in sight.relations.views:
        if view not in live:
            yield f"PostgreSQL: the data map names materialised view {view}, which does not exist."
