"""Looks again in archives, as a thief with every key would: also with the recovery key, where it is in hand."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from compliance.keystore import KeyDestroyed, KeyMissing
from lifecycle.datamap.model import DataMap
from lifecycle.systems import clients
from lifecycle.systems.backups import layout
from lifecycle.systems.backups.catalogue import Reach
from lifecycle.systems.backups.keys import Keys
from lifecycle.systems.base import Entry, Hit, Item, Page, Scope, Transient, content_hash, key_hash
from lifecycle.systems.needles import CANARY, ID, Needles

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SECONDS = 8.0
RECOVERY_KEY = "KEYSTORE_RECOVERY_KEY"


class BackupsVerifier:
    """See `lifecycle.systems.base.Verifier`. Reads with a client, a manifest reader and a decryption of its own."""

    name = "backups"
    method = (
        "restore drill on every archive of the tenant: no part of the subject opens with any key of the store{recovery}; parts of "
        "nobody in particular searched for identifiers; names of all objects searched. Rows of other people in archives are sealed "
        "under their own keys and not searched"
    )

    def __init__(self, place: Mapping[str, str], datamap: DataMap) -> None:
        self._place = place
        self._keys = Keys(place)
        self._recovery = _recovery_key(place)
        with_it = (
            ", nor with the recovery key in hand" if self._recovery else ", and no recovery wrapping is left"
        )
        self.method = self.method.format(recovery=with_it)

    def remaining(self, scope: Scope, items: Sequence[Item]) -> list[Item]:
        """Items whose part still opens; single rows, where their part still holds them."""
        found = []
        known: dict[str, dict[str, Any]] = {}
        for item in items:
            name, part_name, *row = json.loads(item.key)
            if name not in known:
                known[name] = self._manifest(scope.subject.tenant, name)
            part = next((part for part in known[name].get("parts", []) if part["name"] == part_name), None)
            rows = self._rows(known[name], part) if part else None
            if rows is not None and (not row or any(_row_id(each) == row[0] for each in rows)):
                found.append(item)
        return found

    def search(self, scope: Scope, cursor: Any) -> Page[Hit]:
        """Archive by archive the restore drill; then the names of all objects in the bucket, whoever's."""
        reach, needles, end = Reach(scope, self._keys), Needles.of(scope), time.monotonic() + SECONDS
        names = self._archives(reach.tenant)
        hits: list[Hit] = []
        for name in names:
            if cursor is not None and name <= cursor:
                continue
            hits += self._drill(reach, needles, self._manifest(reach.tenant, name))
            if time.monotonic() > end:
                return Page(hits, name)
        foreign = Needles.of(scope, foreign=True)
        for entry in self._list(""):
            key = str(entry["Key"])
            # The tenant's id is in its prefix by design; a user may be called like a tenant.
            name = key.partition("/")[2] if layout.tenant_of(key) is not None else key
            if (found := foreign.find(name)) is not None:
                hits.append(Hit(layout.NAME, key, "names of objects", found.kind, belongs=False))
        return Page(hits)

    def bystanders(self, scope: Scope) -> Iterator[Entry]:
        """Every part of other people and tenants that can be read: gone or unreadable ones are missing here. Parts in the
        subject's own tenant are opened; for other tenants' the stored bytes (ETag) and the key's presence stand."""
        reach = Reach(scope, self._keys)
        tenants = {layout.tenant_of(entry["Key"]) for entry in self._list("")} - {None}
        for tenant in sorted(str(tenant) for tenant in tenants):
            stored = {entry["Key"]: entry for entry in self._list(layout.tenant_prefix(tenant))}
            for name in sorted({key.split("/")[1] for key in stored}):
                manifest = self._manifest(tenant, name)
                for part in manifest.get("parts", []):
                    if part["category"] == layout.CANARY or (
                        tenant == reach.tenant and self._ours(reach, part)
                    ):
                        continue
                    found = stored.get(f"{layout.tenant_prefix(tenant)}{name}/{part['name']}")
                    if (data := self._seen(manifest, part, found, tenant == reach.tenant)) is not None:
                        owner = f"{tenant}/{part['person']}" if part["person"] else tenant
                        yield Entry(
                            owner, key_hash(layout.PART, json.dumps([name, part["name"]])), content_hash(data)
                        )

    def _seen(
        self, manifest: Mapping[str, Any], part: Mapping[str, Any], stored: Any, near: bool
    ) -> bytes | None:
        if stored is None:
            return None
        if near:
            return self._plain(manifest, part)
        return f"{stored['ETag']} {stored['Size']}".encode() if self._keys.store.exists(part["key"]) else None

    def close(self) -> None:
        """Nothing of its own is open."""

    def _ours(self, reach: Reach, part: Mapping[str, Any]) -> bool:
        return reach.covers(part["person"]) and part["person"] not in reach.spared

    def _drill(self, reach: Reach, needles: Needles, manifest: Mapping[str, Any]) -> list[Hit]:
        hits = []
        for part in manifest.get("parts", []):
            own = self._ours(reach, part)
            kept = own and reach.keeps(layout.Part(**part))
            if part["person"] and not own and part["category"] != layout.CANARY:
                continue
            rows = self._rows(manifest, part)
            key = [manifest["archive"], part["name"]]
            if own and rows is not None and not kept:
                kind = CANARY if part["category"] == layout.CANARY else ID
                excerpt = " ".join(_text(row) for row in rows) if kind == CANARY else ""
                hits.append(Hit(layout.PART, json.dumps(key), "archive", kind, belongs=True, excerpt=excerpt))
            elif not own and rows is not None and not part["person"]:
                hits += list(_mentions(needles, rows, key))
        return hits

    def _rows(self, manifest: Mapping[str, Any], part: Mapping[str, Any]) -> list[dict[str, str]] | None:
        plain = self._plain(manifest, part)
        if plain is None:
            return None
        opened = zstandard.ZstdDecompressor().decompress(plain)
        return [json.loads(line) for line in opened.decode().split("\n") if line]

    def _plain(self, manifest: Mapping[str, Any], part: Mapping[str, Any]) -> bytes | None:
        """The compressed rows of a part if anything at all opens it."""
        sealed = None
        for key in self._candidates(part["key"]):
            sealed = sealed or self._get(
                f"{layout.tenant_prefix(manifest['tenant'])}{manifest['archive']}/{part['name']}"
            )
            if sealed is None:
                return None
            context = f"archive/{manifest['tenant']}/{manifest['archive']}/{part['name']}"
            try:
                return AESGCM(key).decrypt(sealed[:12], sealed[12:], context.encode())
            except InvalidTag:
                continue
        return None

    def _candidates(self, name: str) -> Iterator[bytes]:
        with suppress(KeyMissing, KeyDestroyed):
            yield self._keys.store.get(name)
        if self._recovery:
            with suppress(KeyMissing):
                yield self._keys.store.recover(name, self._recovery)

    def _archives(self, tenant: str) -> list[str]:
        prefix = layout.tenant_prefix(tenant)
        return sorted({str(entry["Key"]).removeprefix(prefix).split("/")[0] for entry in self._list(prefix)})

    def _manifest(self, tenant: str, archive: str) -> dict[str, Any]:
        data = self._get(f"{layout.tenant_prefix(tenant)}{archive}/manifest.json")
        found: dict[str, Any] = json.loads(data) if data else {}
        return found

    def _get(self, key: str) -> bytes | None:
        try:
            found: bytes = self._client.get_object(Bucket=self._place["bucket"], Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise Transient("The backup storage can't be read; try again.") from error
        except BotoCoreError as error:
            raise Transient("The backup storage did not answer; try again.") from error
        return found

    def _list(self, prefix: str) -> Iterator[Any]:
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._place["bucket"], Prefix=prefix, PaginationConfig={"PageSize": 500}
            )
            for page in pages:
                yield from page.get("Contents", [])
        except (BotoCoreError, ClientError) as error:
            raise Transient("The backup storage can't be listed; try again.") from error

    @cached_property
    def _client(self) -> S3Client:
        made: S3Client = clients.aws(
            "s3",
            endpoint_url=self._place["endpoint"],
            aws_access_key_id=self._place.get("reader_key") or self._place["key"],
            aws_secret_access_key=self._place.get("reader_secret") or self._place["secret"],
            region_name=self._place.get("region") or "us-east-1",
            config={"connect_timeout": 5, "read_timeout": 30, "s3": {"addressing_style": "path"}},
        )
        return made


def _mentions(needles: Needles, rows: Sequence[Mapping[str, str]], key: list[str]) -> Iterator[Hit]:
    for row in rows:
        text = _text(row)
        if (found := needles.find(text)) is not None:
            place = json.dumps([*key, _row_id(row)])
            yield Hit(
                layout.ROW, place, "archive", found.kind, belongs=False, excerpt=needles.excerpt(text, found)
            )


def _data(row: Mapping[str, str]) -> bytes:
    return row["text"].encode() if "text" in row else base64.b64decode(row["base64"])


def _text(row: Mapping[str, str]) -> str:
    return _data(row).decode("utf-8", "replace")


def _row_id(row: Mapping[str, str]) -> str:
    return hashlib.sha256(row["kind"].encode() + b"\0" + _data(row)).hexdigest()[:32]


def _recovery_key(place: Mapping[str, str]) -> bytes | None:
    """The recovery key, where the place, the environment or a local stack puts it into the verifier's hand."""
    given = place.get("recovery_key") or os.environ.get(RECOVERY_KEY)
    if given:
        return bytes.fromhex(given)
    folder = Path(place["keystore"])
    local = folder.with_name(f"{folder.name}.recovery-key")
    return bytes.fromhex(json.loads(local.read_bytes())) if local.exists() else None


def connect(place: Mapping[str, str], datamap: DataMap) -> BackupsVerifier:
    """The verifier of the archives at `place`."""
    return BackupsVerifier(place, datamap)
