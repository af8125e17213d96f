"""What must hold across a whole data map, so that every entry leads to its subject's data."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lifecycle.datamap.model import DataMap, Handling, Key, Table
from lifecycle.datamap.section import BadMap

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KNOWN = {"tenant", "user", "document", "*"}
_TYPES = ("string", "set", "zset", "hash", "stream", "list")


def whole(datamap: DataMap) -> None:
    """Raises BadMap with a sentence naming the first entry that can't be right."""
    if datamap.version < 1:
        raise BadMap("version must be 1 or more.")
    tables = {table.name: table for table in datamap.relations.tables}
    for table in tables.values():
        _table(table, tables)
    for name in tables:
        _reaches(name, tables)
    for place, template, needs_tenant in _templates(datamap):
        _template(place, template, needs_tenant)
    if datamap.categories:
        for place, category in _categories(datamap):
            if category not in datamap.categories:
                known = ", ".join(datamap.categories)
                raise BadMap(f"{place}: category {category!r} is not listed in `categories` ({known}).")
    names = [recipient.name for recipient in datamap.recipients]
    for name in names:
        if names.count(name) > 1:
            raise BadMap(f"recipients: {name!r} stands there twice.")


def family(key: Key, place: str) -> None:
    """A key family's type, and what its type needs to find a user's part."""
    if key.type not in _TYPES:
        raise BadMap(f"{place}.type: {key.type!r} is none of {', '.join(_TYPES)}.")
    if "{user}" in key.template:
        return
    if key.type in ("set", "zset", "list") and not key.member:
        raise BadMap(f"{place}: a shared {key.type} needs `member`, the template of the user's members.")
    if key.type in ("hash", "stream") and not key.field:
        raise BadMap(f"{place}: a shared {key.type} needs `field`, which names the user's part.")


def _table(table: Table, tables: dict[str, Table]) -> None:
    place = f"postgresql.tables.{table.name}"
    if table.handling is Handling.KEEP:
        return
    if table.tenant is None and not table.via:
        raise BadMap(
            f"{place}: nothing leads to it. Give `tenant`, or `via`, or `handling: keep` if nothing in it is personal."
        )
    if table.shared_through and table.tenant is None:
        raise BadMap(f"{place}: a shared table needs its `tenant` column.")
    for label, pairs in (("via", table.via), ("shared_through", table.shared_through)):
        for other, _ in pairs:
            if other not in tables:
                raise BadMap(f"{place}.{label}: table {other!r} is not in the data map.")
            if tables[other].handling is Handling.KEEP:
                raise BadMap(f"{place}.{label}: table {other!r} is kept and leads to nobody.")
    if table.handling is Handling.ANONYMISE:
        if not table.set:
            raise BadMap(
                f"{place}: a table to anonymise needs `set`, the columns that name the user and their new values."
            )
        if table.user and table.user not in dict(table.set):
            raise BadMap(
                f"{place}.set: the user column {table.user!r} would go on naming the user. Set it, too."
            )
    elif table.set:
        raise BadMap(f"{place}.set: only a table with `handling: anonymise` is rewritten.")


def _reaches(name: str, tables: dict[str, Table], path: tuple[str, ...] = ()) -> None:
    if name in path:
        raise BadMap(f"postgresql.tables.{name}.via: it leads to itself ({' -> '.join((*path, name))}).")
    for parent, _ in tables[name].via:
        _reaches(parent, tables, (*path, name))


def _template(place: str, template: str, needs_tenant: bool) -> None:
    found = _PLACEHOLDER.findall(template)
    for placeholder in found:
        if placeholder not in _KNOWN:
            raise BadMap(
                f"{place}: {{{placeholder}}} is no placeholder. Known: {{tenant}}, {{user}}, {{document}}, {{*}}."
            )
    if needs_tenant and "tenant" not in found:
        raise BadMap(f"{place}: {template!r} must hold {{tenant}}, or it would name everybody's data.")


def _templates(datamap: DataMap) -> Iterator[tuple[str, str, bool]]:
    yield "s3.tenant_prefix", datamap.objects.tenant_prefix, True
    for i, prefix in enumerate(datamap.objects.prefixes):
        yield f"s3.prefixes[{i}].template", prefix.template, True
    for i, name in enumerate(datamap.vectors.namespaces):
        yield f"pinecone.namespaces[{i}]", name, True
    yield "pinecone.id_template", datamap.vectors.id_template, False
    for i, key in enumerate(datamap.keys.families):
        yield f"redis.families[{i}].template", key.template, False
        for label, value in (("member", key.member), ("field", key.field)):
            if value:
                yield f"redis.families[{i}].{label}", value, False
    for i, group in enumerate(datamap.logs.groups):
        yield f"cloudwatch.groups[{i}]", group, True


def _categories(datamap: DataMap) -> Iterator[tuple[str, str]]:
    for table in datamap.relations.tables:
        if table.handling is not Handling.KEEP:
            yield f"postgresql.tables.{table.name}.category", table.category
    for i, prefix in enumerate(datamap.objects.prefixes):
        yield f"s3.prefixes[{i}].category", prefix.category
    yield "pinecone.category", datamap.vectors.category
    for i, key in enumerate(datamap.keys.families):
        yield f"redis.families[{i}].category", key.category
    yield "cloudwatch.category", datamap.logs.category
    yield "analytics.category", datamap.metrics.category
