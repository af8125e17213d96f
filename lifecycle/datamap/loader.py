"""The data map's YAML text as typed values. A bad map is refused with a sentence that names the place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from lifecycle.datamap import checks
from lifecycle.datamap.model import (
    DataMap,
    Freeze,
    Handling,
    Key,
    Keys,
    Logs,
    Metrics,
    Objects,
    Prefix,
    Recipient,
    Relations,
    Table,
    Vectors,
)
from lifecycle.datamap.section import BadMap, Section


def load(text: str) -> DataMap:
    """The data map that `text` (YAML) describes, with the SHA-256 of its meaning as digest (comments don't count).

    Raises BadMap with a sentence naming the place: a syntax error, an unknown or missing entry, a wrong type, a table
    that nothing leads to, an unknown category, placeholder or handling.
    """
    page = _parse(text)
    top = Section("", page)
    datamap = DataMap(
        version=top.integer("version"),
        digest=digest(page),
        categories=top.strings("categories"),
        relations=_relations(top.section("postgresql")),
        objects=_objects(top.section("s3")),
        vectors=_vectors(top.section("pinecone")),
        keys=_keys(top.section("redis")),
        logs=_logs(top.section("cloudwatch")),
        metrics=_metrics(top.section("analytics")),
        recipients=tuple(_recipient(entry) for entry in top.sections("recipients")),
    )
    top.done()
    checks.whole(datamap)
    return datamap


def digest(page: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a parsed map's canonical JSON."""
    canonical = json.dumps(page, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


class _Strict(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would silently drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise BadMap(
                    f"{key.value!r} stands twice, again in line {key.start_mark.line + 1} of the data map."
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse(text: str) -> dict[str, Any]:
    try:
        page = yaml.load(text, _Strict)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the text"
        reason = getattr(error, "problem", None) or "it can't be read"
        raise BadMap(f"The data map is no valid YAML at {place}: {reason}.") from None
    if not isinstance(page, dict):
        raise BadMap("The data map must be a YAML mapping with `version` and a section per system.")
    return page


def _relations(section: Section) -> Relations:
    tables = tuple(_table(name, entry) for name, entry in section.named("tables"))
    made = Relations(
        schema=section.string("schema", "public"),
        freeze=_freeze(section.section("freeze")),
        tables=tables,
        views=section.strings("views"),
    )
    section.done()
    return made


def _freeze(section: Section) -> Freeze | None:
    if section.empty:
        return None
    made = Freeze(table=section.string("table"), column=section.string("column"))
    section.done()
    return made


def _table(name: str, entry: Section) -> Table:
    made = Table(
        name=name,
        handling=entry.choice("handling", Handling, Handling.ERASE),
        category=entry.string("category", "content"),
        tenant=entry.optional("tenant"),
        user=entry.optional("user"),
        via=entry.pairs("via"),
        personal=entry.strings("personal"),
        set=entry.nullable_pairs("set"),
        detach=entry.strings("detach"),
        dated=entry.optional("dated"),
        large_object=entry.optional("large_object"),
        mails=entry.strings("mails"),
        names=entry.strings("names"),
        anchor=entry.optional("anchor"),
        anchor_columns=entry.pairs("anchor_columns"),
        key=entry.strings("key"),
        canary=entry.pairs("canary"),
        shared_through=entry.pairs("shared_through"),
    )
    entry.done()
    return made


def _objects(section: Section) -> Objects:
    default = Objects()
    made = Objects(
        tenant_prefix=section.string("tenant_prefix", default.tenant_prefix),
        prefixes=tuple(_prefix(entry) for entry in section.sections("prefixes")),
    )
    section.done()
    return made


def _prefix(entry: Section) -> Prefix:
    made = Prefix(template=entry.string("template"), category=entry.string("category", "content"))
    entry.done()
    return made


def _vectors(section: Section) -> Vectors:
    default = Vectors()
    made = Vectors(
        namespaces=section.strings("namespaces", default.namespaces),
        tenant_field=section.string("tenant_field", default.tenant_field),
        user_field=section.string("user_field", default.user_field),
        document_field=section.string("document_field", default.document_field),
        id_template=section.string("id_template", default.id_template),
        category=section.string("category", default.category),
    )
    section.done()
    return made


def _keys(section: Section) -> Keys:
    made = Keys(
        databases=section.integers("databases", (0,)),
        families=tuple(_family(entry) for entry in section.sections("families")),
    )
    section.done()
    return made


def _family(entry: Section) -> Key:
    made = Key(
        template=entry.string("template"),
        type=entry.string("type", "string"),
        category=entry.string("category", "session"),
        member=entry.optional("member"),
        field=entry.optional("field"),
        user_in=entry.optional("user_in"),
    )
    entry.done()
    checks.family(made, entry.place)
    return made


def _logs(section: Section) -> Logs:
    default = Logs()
    made = Logs(
        groups=section.strings("groups"),
        user_fields=section.strings("user_fields", default.user_fields),
        personal_fields=section.strings("personal_fields"),
        shared_groups=section.strings("shared_groups"),
        category=section.string("category", default.category),
    )
    section.done()
    return made


def _metrics(section: Section) -> Metrics:
    default = Metrics()
    made = Metrics(
        tenant_label=section.string("tenant_label", default.tenant_label),
        user_label=section.string("user_label", default.user_label),
        datadog_tenant_tag=section.string("datadog_tenant_tag", default.datadog_tenant_tag),
        datadog_user_tag=section.string("datadog_user_tag", default.datadog_user_tag),
        kept_labels=section.strings("kept_labels"),
        category=section.string("category", default.category),
    )
    section.done()
    return made


def _recipient(entry: Section) -> Recipient:
    default = Recipient(name="")
    made = Recipient(
        name=entry.string("name"),
        kind=entry.string("kind", default.kind),
        subjects=entry.strings("subjects", default.subjects),
    )
    entry.done()
    unknown = set(made.subjects) - {"user", "tenant"}
    if unknown:
        raise BadMap(f"{entry.place}.subjects: {sorted(unknown)[0]!r} is neither `user` nor `tenant`.")
    return made
