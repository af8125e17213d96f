"""Which items of the manifest are still there and still the subject's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lifecycle.datamap.model import Handling
from lifecycle.systems.base import Item
from lifecycle.systems.items import Items
from lifecycle.systems.postgresql.claims import Reader, pairs
from lifecycle.systems.postgresql.sight import Seen, Sight, ident, literal_array

LARGE_OBJECT = "large_object"
_DEEPEST = 8


@dataclass
class Recheck:
    """One scope's look at manifest items, by their keys."""

    sight: Sight
    reader: Reader

    def remaining(self, items: Sequence[Item]) -> list[Item]:
        listed = Items.of(items)
        groups: dict[tuple[str, bool], list[str]] = defaultdict(list)
        for run in listed.runs:
            named = [key for key in run.keys if key[:1] == "{"]
            found = [key for key in run.keys if not key.startswith("{")] if named else run.keys
            for is_named, keys in ((True, named), (False, found)):
                if keys:
                    groups[run.kind, is_named] += keys
        still = {
            (kind, key)
            for (kind, is_named), keys in groups.items()
            for key in self._still(kind, is_named, keys)
        }
        return [item for item in listed if (item.kind, item.key) in still] if still else []

    def _still(self, kind: str, named: bool, group: list[str]) -> set[str]:
        if kind == LARGE_OBJECT:
            found = self._large_objects(group)
        elif (each := self.sight.named(kind)) is not None:
            found = self._rows(each, named, group)
        else:
            found = self._detached(kind, group)
        return {key for key in group if _plain(key) in found} if found else set()

    def _rows(self, each: Seen, named: bool, group: list[str]) -> set[str]:
        where, params = each.among(group)
        if not self.sight.rows(f"SELECT FROM {each.whole} a WHERE {where} LIMIT 1", params):
            return set()
        table = self.sight.mapped(each)
        if named and (table is None or table.handling is not Handling.ANONYMISE):
            return {
                row[0]
                for row in self.sight.rows(
                    f"SELECT {each.key_sql('a')} FROM {each.whole} a WHERE {where}", params
                )
            }
        claims = self.reader.claims(each)
        condition = "TRUE"
        if table is not None and table.handling is Handling.ANONYMISE:
            condition = self.reader.differs_sql(each)
        if table is not None and table.shared_through and self.reader.scope.subject.user is not None:
            mine = f"NOT {self.reader.others_in(table, 'a', each)}"
        else:
            mine = self.reader.mine_sql(claims, each)
        rows = self.sight.rows(
            f"SELECT {each.key_sql('a')}, {claims.columns} FROM {each.whole} a {claims.joins} "
            f"WHERE {where} AND {mine} AND {condition} AND ({self.reader.kept_sql(each)}) IS NOT TRUE",
            {**self.reader.params(each), **params},
        )
        return {row[0] for row in rows if not self.needed(each, row[0])}

    def _detached(self, kind: str, group: list[str]) -> set[str]:
        name, _, column = kind.rpartition(".")
        each = self.sight.named(name)
        if each is None or column not in each.types:
            return set()
        where, params = each.among(group)
        rows = self.sight.rows(
            f"SELECT {each.key_sql('a')} FROM {each.whole} a WHERE {where} AND a.{ident(column)}::text = %(user)s",
            {**self.reader.params(each), **params},
        )
        return {row[0] for row in rows}

    def _large_objects(self, group: list[str]) -> set[str]:
        oids = literal_array([_plain(key)[2:-2] for key in group])
        standing = self.sight.rows(
            "SELECT oid::text FROM pg_largeobject_metadata WHERE oid = ANY(%(oids)s::oid[])", {"oids": oids}
        )
        return {f'["{oid}"]' for (oid,) in standing if not self.object_is_someone_elses(oid)}

    def object_is_someone_elses(self, oid: str) -> bool:
        """Whether a row that is not the subject's, or one that is kept, points to this large object."""
        return any(kept or not mine for _, mine, kept in self.pointing(oid))

    def pointing(self, oid: str) -> Iterator[tuple[str | None, bool, bool]]:
        """Rows that point to a large object: the tenant, whether it is the subject's, whether it is kept."""
        for table in self.sight.tables.values():
            each = self.sight.named(table.name)
            if not table.large_object or each is None:
                continue
            claims = self.reader.claims(each)
            rows = self.sight.rows(
                f"SELECT {each.key_sql('a')}, ({self.reader.kept_sql(each)}) IS TRUE, {claims.columns} "
                f"FROM {each.whole} a {claims.joins} WHERE a.{ident(table.large_object)} = %(oid)s::oid",
                {**self.reader.params(each), "oid": oid},
            )
            for key, kept, *values in rows:
                found = pairs(tuple(values))
                mine = self.reader.is_mine(found, each)
                yield self.reader.tenant_of(found), mine, kept or (mine and self.needed(each, key))

    def needed(self, each: Seen, key: str, depth: int = 0) -> bool:
        """Whether a row that must stay (retained, held, a held user's) points to this one, directly or further down."""
        scope = self.reader.scope
        if not (scope.retained or scope.held_categories or scope.spared_users) or depth > _DEEPEST:
            return False
        parents = {
            other.oid for other in self.sight.seen if other.schema == each.schema and other.root == each.root
        }
        for link in self.sight.links:
            child = self.sight.by_oid(link.child)
            if link.parent not in parents or child is None or child.oid == each.oid:
                continue
            where, params = each.among([key])
            on = " AND ".join(
                f"b.{ident(c)} = a.{ident(p)}" for c, p in zip(link.own, link.other, strict=True)
            )
            below = f"SELECT b.* FROM {child.whole} b JOIN {each.whole} a ON {on} WHERE {where}"
            claims = self.reader.claims(child)
            name = child.key_sql("a") if child.key else "''"
            rows = self.sight.rows(
                f"SELECT {name}, ({self.reader.kept_sql(child)}) IS TRUE, {claims.columns} "
                f"FROM ({below}) a {claims.joins} LIMIT 200",
                {**self.reader.params(child), **params},
            )
            for below_key, kept, *values in rows:
                found = pairs(tuple(values))
                if self.reader.is_spared(found) or (kept and self.reader.is_mine(found, child)):
                    return True
                if (
                    below_key
                    and self.reader.is_mine(found, child)
                    and self.needed(child, below_key, depth + 1)
                ):
                    return True
        return False


def _plain(key: str) -> str:
    """A named key as the discovered form that SQL gives back."""
    if not key.startswith("{"):
        return key
    return key[key.index("[") : key.rindex("]") + 1]
