"""The data map as typed values: where tenant and user data lies, and what to do with it.

Text (YAML) becomes these values in `loader.py`; `drift.py` compares them with the live systems.
Templates use `{tenant}`, `{user}`, `{document}` and `{*}` (anything).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Handling(StrEnum):
    ERASE = "erase"
    ANONYMISE = "anonymise"
    KEEP = "keep"  # holds no personal data; classified as such


@dataclass(frozen=True, slots=True)
class Table:
    """One table. Owned by `tenant`/`user` columns, or reached through `via` ({parent table: own column}).

    A name with a dot (`lifecycle.change`) is a table of another schema: erased and searched, never moved.
    """

    name: str
    handling: Handling = Handling.ERASE
    category: str = "content"
    tenant: str | None = None
    user: str | None = None
    via: tuple[tuple[str, str], ...] = ()
    personal: tuple[str, ...] = ()  # columns that look personal and are meant to
    set: tuple[
        tuple[str, str | None], ...
    ] = ()  # anonymise: column -> value ("{pseudonym}") or None for NULL
    detach: tuple[str, ...] = ()  # may name the user in other people's rows: set to NULL, the row stays
    dated: str | None = None  # the record's date, for retention
    large_object: str | None = None  # a column with a large object's oid
    mails: tuple[str, ...] = ()  # columns that hold the user's mail
    names: tuple[str, ...] = ()  # columns that hold the user's name
    anchor: str | None = None  # this table's key is an anchor of this kind ("documents")
    anchor_columns: tuple[tuple[str, str], ...] = ()  # column -> kind of anchor that it holds ("s3_keys")
    key: tuple[str, ...] = ()  # identifies a row where there is no primary key; else row hash and ctid
    canary: tuple[tuple[str, str], ...] = ()  # column -> value that hides a canary row from users
    shared_through: tuple[tuple[str, str], ...] = ()  # no owner: goes with the last row of {table: column}

    @property
    def elsewhere(self) -> bool:
        """Whether it lies in another schema than the map's."""
        return "." in self.name


@dataclass(frozen=True, slots=True)
class Freeze:
    """Where the platform looks whether a subject is frozen: a table with a hash column (`freeze_hash`)."""

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class Relations:
    schema: str = "public"
    freeze: Freeze | None = None
    tables: tuple[Table, ...] = ()
    views: tuple[str, ...] = ()  # materialised views to refresh


@dataclass(frozen=True, slots=True)
class Prefix:
    template: str  # "tenant-{tenant}/user-{user}/"
    category: str = "content"


@dataclass(frozen=True, slots=True)
class Objects:
    tenant_prefix: str = "tenant-{tenant}/"
    prefixes: tuple[Prefix, ...] = ()


@dataclass(frozen=True, slots=True)
class Vectors:
    namespaces: tuple[str, ...] = ("tenant-{tenant}",)
    tenant_field: str = "tenant_id"
    user_field: str = "user_id"
    document_field: str = "document_id"
    id_template: str = "{document}#{*}"
    category: str = "content"


@dataclass(frozen=True, slots=True)
class Key:
    """One family of keys: `type` string|set|zset|hash|stream|list; where a shared one, `member` or `field` names the user."""

    template: str
    type: str = "string"
    category: str = "session"
    member: str | None = None
    field: str | None = None
    user_in: str | None = None  # JSON string values: the field that names the user (caches)


@dataclass(frozen=True, slots=True)
class Keys:
    databases: tuple[int, ...] = (0,)
    families: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Logs:
    groups: tuple[str, ...] = ()
    user_fields: tuple[str, ...] = ("user_id",)
    personal_fields: tuple[str, ...] = ()
    shared_groups: tuple[str, ...] = ()
    category: str = "logs"


@dataclass(frozen=True, slots=True)
class Metrics:
    tenant_label: str = "tenant"
    user_label: str = "user"
    datadog_tenant_tag: str = "tenant"
    datadog_user_tag: str = "user"
    kept_labels: tuple[str, ...] = ()  # look personal by name or value, but were classified as not
    category: str = "analytics"


@dataclass(frozen=True, slots=True)
class Recipient:
    """A processor or store without an adapter: settled by hand before certification."""

    name: str
    kind: str = "processor"
    subjects: tuple[str, ...] = ("user", "tenant")


@dataclass(frozen=True, slots=True)
class DataMap:
    version: int
    digest: str
    relations: Relations = field(default_factory=Relations)
    objects: Objects = field(default_factory=Objects)
    vectors: Vectors = field(default_factory=Vectors)
    keys: Keys = field(default_factory=Keys)
    logs: Logs = field(default_factory=Logs)
    metrics: Metrics = field(default_factory=Metrics)
    recipients: tuple[Recipient, ...] = ()
    categories: tuple[str, ...] = ()
