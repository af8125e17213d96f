"""Whose a row is, for the verifier: every (tenant, user) that a row's own columns or the rows above it name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lifecycle.datamap.model import Handling, Table
from lifecycle.systems.base import Scope
from lifecycle.systems.postgresql.sight import Seen, Sight, ident


@dataclass(frozen=True)
class Claim:
    """SQL expressions for one claim to a row: tenant and user as text; NULL where it names none."""

    tenant: str
    user: str
    own: bool  # by the row's own columns


@dataclass(frozen=True)
class Claims:
    """All claims of one relation's rows over alias `a`, with the joins that they need."""

    joins: str
    all: tuple[Claim, ...]

    @property
    def columns(self) -> str:
        """SELECT list: tenant and user of each claim, in order."""
        return ", ".join(f"{claim.tenant}, {claim.user}" for claim in self.all) or "NULL"


class Reader:
    """Builds claims, and judges their values for one scope."""

    def __init__(self, sight: Sight, scope: Scope) -> None:
        self.sight = sight
        self.scope = scope
        self._number = 0
        tables = sight.tables.values()
        self._tenant_names = {table.tenant for table in tables if table.tenant}
        self._user_names = {table.user for table in tables if table.user}

    def claims(self, each: Seen) -> Claims:
        """The claims of a mapped table by its map entry; of any other relation by columns named alike elsewhere."""
        table = self.sight.mapped(each)
        if table is None:
            return Claims("", self._guessed(each))
        joins: list[str] = []
        found = self._of(table, "a", each, joins)
        return Claims(" ".join(joins), tuple(found))

    def is_mine(self, values: list[tuple[str | None, str | None]], each: Seen) -> bool:
        """Whether claim values name the subject. A held (spared) user's own claim outweighs any other."""
        subject = self.scope.subject
        if self.is_spared(values):
            return False
        if subject.user is None:
            return any(tenant == subject.tenant for tenant, _ in values)
        names = (subject.user, self.scope.pseudonym) if self._anonymises(each) else (subject.user,)
        return any(tenant == subject.tenant and user in names for tenant, user in values)

    def is_spared(self, values: list[tuple[str | None, str | None]]) -> bool:
        if not self.scope.spared_users or not values:
            return False
        tenant, user = values[0]
        return tenant == self.scope.subject.tenant and user in self.scope.spared_users

    def tenant_of(self, values: list[tuple[str | None, str | None]]) -> str | None:
        return next((tenant for tenant, _ in values if tenant is not None), None)

    def _anonymises(self, each: Seen) -> bool:
        table = self.sight.mapped(each)
        return table is not None and table.handling is Handling.ANONYMISE

    def _of(self, table: Table, a: str, each: Seen, joins: list[str]) -> list[Claim]:
        found: list[Claim] = []
        if table.tenant and table.tenant in each.types:
            user = "NULL::text"
            if table.user and table.user in each.types:
                user = f"{a}.{ident(table.user)}::text"
            elif table.shared_through and self.scope.subject.user is not None:
                user = self._shared_user(table, a, each)
            found.append(Claim(f"{a}.{ident(table.tenant)}::text", user, own=a == "a"))
        for parent, column in table.via:
            above = self.sight.named(parent)
            upper = self.sight.tables.get(parent)
            if above is None or upper is None:
                continue
            self._number += 1
            p = f"p{self._number}"
            on = " AND ".join(f"{p}.{ident(o)} = {a}.{ident(c)}" for c, o in self._pairs(each, column, above))
            joins.append(f"LEFT JOIN {ident(above.schema, above.root)} {p} ON {on}")
            found += [Claim(c.tenant, c.user, own=False) for c in self._of(upper, p, above, joins)]
        return found

    def others_in(self, table: Table, a: str, each: Seen) -> str:
        """SQL: somebody else's rows are in the shared row `a`."""
        return self._within(table, a, each, mine=False)

    def _shared_user(self, table: Table, a: str, each: Seen) -> str:
        """A shared row counts as the user's when only theirs is in it, or nothing at all and nobody else began it."""
        began = [f"{a}.{ident(column)}::text <> %(user)s" for column in table.detach if column in each.types]
        elses = f"({' OR '.join(began)})" if began else "FALSE"
        return (
            f"CASE WHEN {self.others_in(table, a, each)} THEN NULL "
            f"WHEN {elses} AND NOT {self._within(table, a, each, mine=True)} THEN NULL ELSE %(user)s::text END"
        )

    def _within(self, table: Table, a: str, each: Seen, *, mine: bool) -> str:
        parts = []
        for child, column in table.shared_through:
            below, entry = self.sight.named(child), self.sight.tables.get(child)
            if below is None or entry is None or not (entry.tenant and entry.user):
                continue
            self._number += 1
            m = f"m{self._number}"
            on = " AND ".join(f"{m}.{ident(c)} = {a}.{ident(o)}" for c, o in self._pairs(below, column, each))
            is_mine = (
                f"{m}.{ident(entry.tenant)}::text = %(tenant)s AND {m}.{ident(entry.user)}::text = %(user)s"
            )
            is_mine = f"coalesce({is_mine}, FALSE)"
            parts.append(
                f"EXISTS (SELECT FROM {below.whole} {m} WHERE {on} AND {is_mine if mine else f'NOT {is_mine}'})"
            )
        return f"({' OR '.join(parts)})" if parts else "FALSE"

    def mine_sql(self, claims: Claims, each: Seen) -> str:
        """SQL of `is_mine` over claims, for queries that must leave the subject's rows out."""
        parts = []
        for claim in claims.all:
            part = f"{claim.tenant} = %(tenant)s"
            if self.scope.subject.user is not None:
                part += f" AND {claim.user} IN (%(user)s, {'%(pseudonym)s' if self._anonymises(each) else '%(user)s'})"
            parts.append(f"coalesce({part}, FALSE)")
        mine = f"({' OR '.join(parts)})" if parts else "FALSE"
        if self.scope.spared_users and claims.all and claims.all[0].own:
            first = claims.all[0]
            spared = f"{first.tenant} = %(tenant)s AND {first.user} = ANY(%(spared)s::text[])"
            return f"({mine} AND NOT coalesce({spared}, FALSE))"
        return mine

    def kept_sql(self, each: Seen) -> str:
        """SQL: the row's category is held, or retained for a record of its date."""
        table = self.sight.mapped(each)
        if table is None:
            return "FALSE"
        if table.category in self.scope.held_categories:
            return "TRUE"
        if table.category not in self.scope.retained:
            return "FALSE"
        if self.scope.retained[table.category] is None or not table.dated:
            return "TRUE"
        dated = f"a.{ident(table.dated)}"
        return f"({dated} IS NULL OR {dated} >= %(since {table.category})s)"

    def differs_sql(self, each: Seen) -> str:
        """SQL: an anonymised row still holds something else than the map's `set`."""
        table = self.sight.mapped(each)
        parts = []
        for column, value in table.set if table else ():
            if value is None:
                parts.append(f"a.{ident(column)} IS NOT NULL")
            else:
                plain = each.types[column] == "json"
                left = f"a.{ident(column)}{'::text' if plain else ''}"
                parts.append(
                    f"{left} IS DISTINCT FROM %(set {column})s::{'text' if plain else each.types[column]}"
                )
        return f"({' OR '.join(parts)})" if parts else "FALSE"

    def params(self, each: Seen) -> dict[str, Any]:
        """The parameters that the SQL of this reader needs."""
        scope = self.scope
        made: dict[str, Any] = {
            "tenant": scope.subject.tenant,
            "user": scope.subject.user,
            "pseudonym": scope.pseudonym,
            "spared": list(scope.spared_users),
        }
        made |= {f"since {category}": since for category, since in scope.retained.items()}
        table = self.sight.mapped(each)
        for column, value in table.set if table else ():
            made[f"set {column}"] = None if value is None else value.replace("{pseudonym}", scope.pseudonym)
        return made

    def _pairs(self, child: Seen, column: str, parent: Seen) -> list[tuple[str, str]]:
        for link in self.sight.links:
            if link.child == child.oid and link.parent == parent.oid and column in link.own:
                return list(zip(link.own, link.other, strict=True))
        return [(column, parent.key[0][0])]

    def _guessed(self, each: Seen) -> tuple[Claim, ...]:
        tenant = next((name for name in each.types if name in self._tenant_names), None)
        users = [name for name in each.types if name in self._user_names]
        if tenant is None:
            return ()
        column = f"a.{ident(tenant)}::text"
        return tuple(Claim(column, f"a.{ident(user)}::text", own=True) for user in users) or (
            Claim(column, "NULL::text", own=True),
        )


def pairs(values: tuple[Any, ...]) -> list[tuple[str | None, str | None]]:
    """Claim values as (tenant, user) pairs."""
    return [(values[i], values[i + 1]) for i in range(0, len(values) - 1, 2)]
