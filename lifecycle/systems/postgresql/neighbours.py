"""Everyone else's rows as hashes, so that "others unchanged" can be shown.

One entry per row: owner, key, content. Above 300,000 rows of others, and for tables without any key, one entry per
owner and table: count and sum of the rows' hashes. Columns that an erasure must empty in other people's rows (the
map's `detach`, and nullable references to what is erased) don't count in the subject's own tenant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from lifecycle.datamap.model import Handling
from lifecycle.systems.base import Entry, content_hash, key_hash
from lifecycle.systems.postgresql.claims import Claims, Reader
from lifecycle.systems.postgresql.recheck import LARGE_OBJECT
from lifecycle.systems.postgresql.sight import Seen, Sight, ident

MOST_ROWS = 300_000


def entries(sight: Sight, reader: Reader) -> Iterator[Entry]:
    """Every bystander entry of the database, table by table."""
    tables = [each for each in sight.seen if each.kind == "r" and not _is_freeze(sight, each)]
    summed = sum(_others(sight, reader, each) for each in tables) > MOST_ROWS
    for each in tables:
        if summed or not each.key:
            yield from _summed(sight, reader, each)
        else:
            yield from _single(sight, reader, each)
        table = sight.mapped(each)
        if table is not None and table.large_object in each.types:
            yield from _objects(sight, reader, each, table.large_object or "", summed)


def _objects(sight: Sight, reader: Reader, each: Seen, column: str, summed: bool) -> Iterator[Entry]:
    """The large objects under other people's rows: each by its bytes, or per owner their number and sum."""
    claims = reader.claims(each)
    statement = (
        f"SELECT {_owner(claims)}, lo.oid::text, decode(left(md5(lo_get(lo.oid)), 16), 'hex') FROM {each.sql} a "
        f"{claims.joins} JOIN pg_largeobject_metadata lo ON lo.oid = a.{ident(column)} "
        f"WHERE NOT {reader.mine_sql(claims, each)}"
    )
    sums: dict[str, tuple[int, int]] = {}
    for tenant, user, oid, digest in sight.stream(statement, reader.params(each)):
        name = _name(reader, tenant, user)
        if not summed:
            yield Entry(name, key_hash(LARGE_OBJECT, f'["{oid}"]'), bytes(digest))
            continue
        before = sums.get(name, (0, 0))
        sums[name] = (before[0] + 1, before[1] + int.from_bytes(bytes(digest)))
    yield from _as_entries(LARGE_OBJECT, sums)


def _is_freeze(sight: Sight, each: Seen) -> bool:
    freeze = sight.relations.freeze
    return freeze is not None and each.schema == sight.relations.schema and each.name == freeze.table


def _others(sight: Sight, reader: Reader, each: Seen) -> int:
    statement = f"SELECT count(*) {_from(reader, each, reader.claims(each))}"
    return int(sight.rows(statement, reader.params(each))[0][0])


def _from(reader: Reader, each: Seen, claims: Claims) -> str:
    return f"FROM ONLY {each.sql} a {claims.joins} WHERE NOT {reader.mine_sql(claims, each)}"


def _owner(claims: Claims) -> str:
    if not claims.all:
        return "NULL::text, NULL::text"
    tenants = ", ".join(claim.tenant for claim in claims.all)
    return f"coalesce({tenants}), {claims.all[0].user}"


def _hash(sight: Sight, reader: Reader, each: Seen, claims: Claims) -> str:
    masked = _masked(sight, each)
    whole = reader.scope.subject.user is None and not reader.scope.spared_users
    if whole or not masked or not claims.all:
        return "md5(a::text)"
    plain = ", ".join(f"a.{ident(name)}" for name in each.types if name not in masked)
    return f"CASE WHEN {claims.all[0].tenant} = %(tenant)s THEN md5(ROW({plain})::text) ELSE md5(a::text) END"


def _masked(sight: Sight, each: Seen) -> set[str]:
    """Columns that erasing somebody may empty in rows of others."""
    table = sight.mapped(each)
    columns = set(table.detach) if table else set()
    leading = {column for _, column in table.via} if table else set()
    for link in sight.links:
        parent = sight.by_oid(link.parent)
        above = sight.mapped(parent) if parent else None
        if link.child == each.oid and above is not None and above.handling is Handling.ERASE:
            columns |= set(link.own) - leading - {column for column, _ in each.key}
    owners = {table.tenant, table.user} if table else set()
    return {column for column in columns if column in each.types} - owners


def _single(sight: Sight, reader: Reader, each: Seen) -> Iterator[Entry]:
    claims = reader.claims(each)
    kind = sight.kind_of(each)
    content = f"decode(left({_hash(sight, reader, each, claims)}, 16), 'hex')"
    statement = f"SELECT {_owner(claims)}, {each.key_sql('a')}, {content} {_from(reader, each, claims)}"
    for tenant, user, key, digest in sight.stream(statement, reader.params(each)):
        yield Entry(_name(reader, tenant, user), key_hash(kind, key), bytes(digest))


def _summed(sight: Sight, reader: Reader, each: Seen) -> Iterator[Entry]:
    claims = reader.claims(each)
    kind = sight.kind_of(each)
    number = f"('x' || left({_hash(sight, reader, each, claims)}, 16))::bit(64)::bigint"
    inner = f"SELECT {_owner(claims)}, {number} {_from(reader, each, claims)}"
    statement = (
        f"SELECT tenant, person, count(*), sum(number::numeric)::text FROM ({inner}) x (tenant, person, number) "
        "GROUP BY tenant, person"
    )
    sums: dict[str, tuple[int, int]] = {}
    for tenant, user, count, total in sight.stream(statement, reader.params(each)):
        name = _name(reader, tenant, user)
        before = sums.get(name, (0, 0))
        sums[name] = (before[0] + count, before[1] + int(total))
    yield from _as_entries(kind, sums)


def _as_entries(kind: str, sums: dict[str, tuple[int, int]]) -> Iterator[Entry]:
    for name, (count, added) in sums.items():
        key = hashlib.sha256(f"{kind}\0all of {name}".encode()).hexdigest()
        yield Entry(name, key_hash(kind, key), content_hash(f"{count} {added}".encode()))


def _name(reader: Reader, tenant: str | None, user: str | None) -> str:
    """Whose group: another tenant as a whole, or one user (or nobody in particular) of the subject's tenant."""
    if tenant is None:
        return ""
    return f"{tenant}/{user or ''}" if tenant == reader.scope.subject.tenant else tenant
