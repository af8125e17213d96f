"""Lifecycle rules of a bucket (PutBucketLifecycleConfiguration): those that may delete below a subject's prefixes.

A rule can't be told to leave a prefix out, so that the whole rule is disabled: it expires nobody's objects meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lifecycle.datamap.model import DataMap
from lifecycle.systems import clients
from lifecycle.systems.base import Permanent, Scope, Transient
from lifecycle.systems.expiry import Expiry
from lifecycle.systems.s3.layout import Layout

DELETING = ("Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
_NONE = "NoSuchLifecycleConfiguration"


def connect(place: Mapping[str, str], datamap: DataMap) -> S3Expiry:
    """The rules of the bucket at `place`."""
    return S3Expiry(place, datamap)


class S3Expiry:
    """See `lifecycle.systems.expiry.Expirer`. A rule's name is its ID, or the hash of what it says."""

    def __init__(self, place: Mapping[str, str], datamap: DataMap) -> None:
        self._place = place
        self._layout = Layout(datamap.objects)
        self._s3: Any = clients.aws(
            "s3",
            endpoint_url=place["endpoint"],
            aws_access_key_id=place["key"],
            aws_secret_access_key=place["secret"],
            aws_session_token=place.get("session_token") or None,
            region_name=place.get("region") or "us-east-1",
            config={
                "connect_timeout": 5,
                "read_timeout": 30,
                "retries": {"mode": "standard", "max_attempts": 3},
            },
        )

    def address(self) -> str:
        return f"s3 {self._place['endpoint']} {self._place['bucket']}"

    def found(self, scope: Scope) -> list[Expiry]:
        prefixes = [root.prefix for root in self._layout.roots(scope)]
        return [
            Expiry(_name(rule), rule["Status"] == "Enabled")
            for rule in self._read().get("Rules", ())
            if any(part in rule for part in DELETING) and _touches(_prefix(rule), prefixes)
        ]

    def suspend(self, names: Sequence[str]) -> None:
        self._switch(names, "Enabled", "Disabled")

    def restore(self, rules: Mapping[str, int | None]) -> None:
        self._switch(list(rules), "Disabled", "Enabled")

    def close(self) -> None:
        """Nothing of its own is open."""

    def _switch(self, names: Sequence[str], before: str, after: str) -> None:
        document = self._read()
        changed = [r for r in document.get("Rules", ()) if r["Status"] == before and _name(r) in names]
        if not changed:
            return
        for rule in changed:
            rule["Status"] = after
        more = {k: v for k, v in document.items() if k == "TransitionDefaultMinimumObjectSize"}
        with _translated():
            self._s3.put_bucket_lifecycle_configuration(
                Bucket=self._place["bucket"], LifecycleConfiguration={"Rules": document["Rules"]}, **more
            )

    def _read(self) -> dict[str, Any]:
        with _translated():
            try:
                answer: dict[str, Any] = self._s3.get_bucket_lifecycle_configuration(
                    Bucket=self._place["bucket"]
                )
            except ClientError as error:
                if error.response["Error"]["Code"] != _NONE:
                    raise
                return {}
        return answer


def _name(rule: Mapping[str, Any]) -> str:
    if rule.get("ID"):
        return str(rule["ID"])
    said = {key: value for key, value in rule.items() if key != "Status"}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _prefix(rule: Mapping[str, Any]) -> str:
    """What the rule's keys begin with. Tags and sizes only narrow it further, and may change."""
    where = rule.get("Filter") or {}
    return str(rule.get("Prefix") or where.get("Prefix") or where.get("And", {}).get("Prefix") or "")


def _touches(prefix: str, held: Sequence[str]) -> bool:
    return any(prefix.startswith(each) or each.startswith(prefix) for each in held)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status >= 500 or status == 429 or code == "OperationAborted":
            raise Transient(f"The object storage answered {code} to its lifecycle rules.") from None
        raise Permanent(
            f"The object storage refused its lifecycle rules ({code}); the key needs "
            "s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration."
        ) from None
    except BotoCoreError:
        raise Transient("The object storage did not answer; try again when it is up.") from None
