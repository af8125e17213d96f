"""Looks again in CloudWatch Logs: every group the credentials see, by another call, matched in this process."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import zstandard
from botocore.exceptions import ClientError

from lifecycle.datamap.model import DataMap
from lifecycle.systems import clients
from lifecycle.systems.base import Entry, Hit, Item, Page, Scope, content_hash, key_hash
from lifecycle.systems.cloudwatch.service import credentials, translated
from lifecycle.systems.needles import CANARY, Found, Needles

SECONDS = 8.0
ARCHIVES = "logs-archive/"
_MISSING = ("ResourceNotFoundException", "NoSuchKey", "NoSuchVersion", "NoSuchBucket", "404")


class CloudWatchVerifier:
    """See `lifecycle.systems.base.Verifier`. The service's own filter patterns are not trusted with the search."""

    name = "cloudwatch"
    method = (
        "FilterLogEvents without a pattern over every group and every archived object, matched in the verifier's own "
        "process; names of groups and streams, filters' patterns; manifest lines compared by hash"
    )

    def __init__(self, place: Mapping[str, str], datamap: DataMap) -> None:
        self._logs = datamap.logs
        keys = credentials(place)
        region = place.get("region") or "us-east-1"
        config = {
            "connect_timeout": 5,
            "read_timeout": 60,
            "retries": {"mode": "standard", "max_attempts": 4},
        }
        self._client: Any = clients.aws(
            "logs",
            endpoint_url=place.get("endpoint") or None,
            region_name=region,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.token,
            config=config,
        )
        self._bucket = place.get("archive_bucket") or ""
        self._s3: Any = None
        if self._bucket:
            self._s3 = clients.aws(
                "s3",
                endpoint_url=place.get("archive_endpoint") or None,
                region_name=region,
                aws_access_key_id=place.get("archive_reader_key") or place.get("archive_key") or None,
                aws_secret_access_key=place.get("archive_reader_secret")
                or place.get("archive_secret")
                or None,
                config=config,
            )
        self._present: dict[str, set[bytes]] = {}

    # The manifest

    def remaining(self, scope: Scope, items: Sequence[Item]) -> list[Item]:
        """Which items are still readable. A group's lines are read once and kept as hashes."""
        with translated():
            return [item for item in items if self._is_there(item)]

    def _is_there(self, item: Item) -> bool:
        parts = json.loads(item.key)
        match item.kind:
            case "log_group":
                return parts[0] in self._group_names()
            case "log_stream":
                return parts[1] in self._stream_names(parts[0])
            case "log_archive":
                return self._version_exists(parts[0], parts[1])
        if parts[0] not in self._present:
            self._present[parts[0]] = self._hashes(parts[0])
        return bytes.fromhex(parts[2]) in self._present[parts[0]]

    def _hashes(self, group: str) -> set[bytes]:
        found: set[bytes] = set()
        for timestamp, message in self._lines(group):
            found.add(_digest(timestamp, message))
        return found

    def _lines(self, group: str) -> Iterator[tuple[int, str]]:
        """All lines of one group, of its streams and of its archives."""
        for page in self._event_pages(group, 0):
            yield from page
        for key, version in self._archives():
            if _archived_group(key) == group:
                yield from self._archived_lines(key, version)

    def _event_pages(self, group: str, start: int) -> Iterator[list[tuple[int, str]]]:
        more: dict[str, Any] = {}
        while True:
            try:
                answer = self._client.filter_log_events(
                    logGroupName=group, startTime=start, limit=10_000, interleaved=True, **more
                )
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return
                raise
            yield [(int(event["timestamp"]), event["message"]) for event in answer["events"]]
            if not answer.get("nextToken"):
                return
            more = {"nextToken": answer["nextToken"]}

    def _group_names(self) -> list[str]:
        pages = self._client.get_paginator("describe_log_groups").paginate()
        return sorted(group["logGroupName"] for page in pages for group in page["logGroups"])

    def _stream_names(self, group: str) -> list[str]:
        try:
            pages = self._client.get_paginator("describe_log_streams").paginate(logGroupName=group)
            return sorted(stream["logStreamName"] for page in pages for stream in page["logStreams"])
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return []
            raise

    def _archives(self) -> list[tuple[str, str]]:
        """(key, version) of every archived object, noncurrent versions too."""
        if self._s3 is None:
            return []
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=ARCHIVES)
        return sorted((each["Key"], each["VersionId"]) for page in pages for each in page.get("Versions", []))

    def _archived_lines(self, key: str, version: str) -> Iterator[tuple[int, str]]:
        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=key, VersionId=version)["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return
            raise
        with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as raw:
            for row in io.TextIOWrapper(raw, encoding="utf-8", errors="surrogatepass", newline="\n"):
                line = json.loads(row)
                yield int(line["timestamp"]), str(line["message"])

    def _version_exists(self, key: str, version: str) -> bool:
        try:
            self._s3.head_object(Bucket=self._bucket, Key=key, VersionId=version)
        except ClientError as error:
            if error.response["Error"]["Code"] in (*_MISSING, "405"):  # 405: a delete marker
                return (key, version) in self._archives()
            raise
        return True

    # Raw search

    def search(self, scope: Scope, cursor: Any) -> Page[Hit]:
        """Cursor: {"stage": names|lines|archives, "at": position, "from": time}; no name stands in it."""
        at = cursor or {"stage": "names", "at": 0, "from": 0}
        with translated():
            match at["stage"]:
                case "names":
                    return Page(list(self._names(scope)), {"stage": "lines", "at": 0, "from": 0})
                case "lines":
                    return self._search_lines(scope, at)
            return self._search_archives(scope, at)

    def _search_lines(self, scope: Scope, at: dict[str, Any]) -> Page[Hit]:
        groups, hits = self._group_names(), []
        end = time.monotonic() + SECONDS
        while at["at"] < len(groups):
            group, newest = groups[at["at"]], at["from"]
            needles = self._needles(scope, group)
            for page in self._event_pages(group, at["from"]):
                hits += [
                    hit for line in page if (hit := self._line_hit(scope, group, line, needles, "a stream"))
                ]
                newest = max([newest, *(timestamp for timestamp, _ in page)])
                if newest > at["from"] and (time.monotonic() > end or len(hits) > 5_000):
                    return Page(hits, {**at, "from": newest})
            at = {"stage": "lines", "at": at["at"] + 1, "from": 0}
            if time.monotonic() > end:
                return Page(hits, at)
        return Page(hits, {"stage": "archives", "at": 0, "from": 0})

    def _search_archives(self, scope: Scope, at: dict[str, Any]) -> Page[Hit]:
        archives, hits = self._archives(), []
        end = time.monotonic() + SECONDS
        for index in range(at["at"], len(archives)):
            key, version = archives[index]
            group = _archived_group(key)
            needles = self._needles(scope, group)
            if found := needles.find(unquote(key)):
                place, owned = json.dumps([key, version]), self._tenant_of(group) == scope.subject.tenant
                hits.append(
                    Hit("log_archive", place, group, found.kind, owned, needles.excerpt(unquote(key), found))
                )
            for line in self._archived_lines(key, version):
                if hit := self._line_hit(scope, group, line, needles, "an archive"):
                    hits.append(hit)
            if time.monotonic() > end and index + 1 < len(archives):
                return Page(hits, {**at, "at": index + 1})
        return Page(hits, None)

    def _needles(self, scope: Scope, group: str) -> Needles:
        tenant = self._tenant_of(group)
        return Needles.of(scope, foreign=tenant is not None and tenant != scope.subject.tenant)

    def _line_hit(
        self, scope: Scope, group: str, line: tuple[int, str], needles: Needles, where: str
    ) -> Hit | None:
        timestamp, message = line
        found = _best(scope, needles, message)
        if found is not None and found.kind != CANARY and self._names_other_tenant(scope, message):
            found = Needles.of(scope, foreign=True).find(message)
        # A line that spells the user in no way can't be the user's: most lines need no parsing.
        user = scope.subject.user
        may_own = user is None or found is not None or user in message or "\\" in message
        belongs = may_own and self._belongs(scope, group, _says(message), message) and not self._kept(scope)
        if not belongs and (found is None or self._kept(scope)):
            return None
        key = json.dumps([group, timestamp, _digest(timestamp, message).hex()])
        excerpt = needles.excerpt(message, found) if found else ""
        return Hit("log_line", key, f"{where} of {group}", found.kind if found else "rule", belongs, excerpt)

    def _names_other_tenant(self, scope: Scope, message: str) -> bool:
        """Whether a line in a shared group says that it is another tenant's, where our user's id may be theirs."""
        says = _says(message)
        tenants = {says[name] for name in ("tenant_id", "tenant") if name in says}
        return bool(tenants) and scope.subject.tenant not in tenants

    def _kept(self, scope: Scope) -> bool:
        return self._logs.category in scope.retained or self._logs.category in scope.held_categories

    def _belongs(self, scope: Scope, group: str, says: Mapping[str, str], message: str) -> bool:
        """The map's rule, read by code of our own: whose group, which tenant and user the line names."""
        if any(canary in message for canary in scope.canaries):
            return True
        subject, tenant = scope.subject, self._tenant_of(group)
        if subject.user is None and tenant == subject.tenant and not scope.spared_users:
            return True
        tenants = {says[name] for name in ("tenant_id", "tenant") if name in says} or {tenant or ""}
        if subject.tenant not in tenants:
            return False
        users = {says[name] for name in self._logs.user_fields if name in says}
        if subject.user is None:
            return not users & scope.spared_users
        if users:
            return subject.user in users
        return any(
            says.get(name, "").casefold() in {mail.casefold() for mail in subject.mails}
            for name in self._logs.personal_fields
        )

    def _tenant_of(self, group: str) -> str | None:
        for template in self._logs.groups:
            before, braces, after = template.partition("{tenant}")
            if braces and group.startswith(before) and group.endswith(after):
                middle = group[len(before) : len(group) - len(after)]
                if middle and "/" not in middle:
                    return middle
        return None

    def _names(self, scope: Scope) -> Iterator[Hit]:
        if self._kept(scope):
            return
        for group in self._group_names():
            needles, mine = self._needles(scope, group), self._tenant_of(group) == scope.subject.tenant
            if scope.subject.user is None and mine and not scope.spared_users:
                yield Hit("log_group", json.dumps([group]), "a log group", "rule", True)
            for stream in self._stream_names(group):
                if found := _best(scope, needles, stream):
                    key = json.dumps([group, stream])
                    yield Hit("log_stream", key, group, found.kind, mine, needles.excerpt(stream, found))
        yield from self._filters(scope)

    def _filters(self, scope: Scope) -> Iterator[Hit]:
        """Patterns of filters that were made to follow one person. They are configuration: a person decides on them."""
        found = [(each["logGroupName"], "metricFilters", each) for each in self._metric_filters()]
        for group in self._group_names():
            if re.fullmatch(
                r"[.\-_/#A-Za-z0-9]+", group
            ):  # the service refuses to be asked about any other name
                answer = self._client.describe_subscription_filters(logGroupName=group)
                found += [(group, "subscriptionFilters", each) for each in answer["subscriptionFilters"]]
        for group, kind, each in found:
            needles, text = (
                self._needles(scope, group),
                f"{each.get('filterName', '')} {each.get('filterPattern', '')}",
            )
            if match := needles.find(text):
                key = json.dumps([group, kind, each.get("filterName", "")])
                yield Hit("log_filter", key, group, match.kind, False, needles.excerpt(text, match))

    def _metric_filters(self) -> Iterator[dict[str, Any]]:
        for page in self._client.get_paginator("describe_metric_filters").paginate():
            yield from page["metricFilters"]

    # Everyone else

    def bystanders(self, scope: Scope) -> Iterator[Entry]:
        """One entry per line of anybody else, wherever it lies: rewriting may move it to another stream or an archive."""
        with translated():
            archived = {_archived_group(key) for key, _ in self._archives()}
            for group in sorted({*self._group_names(), *archived}):
                seen: Counter[bytes] = Counter()
                for timestamp, message in self._lines(group):
                    says = _says(message)
                    if self._belongs(scope, group, says, message):
                        continue
                    digest = _digest(timestamp, message)
                    seen[digest] += 1
                    key = json.dumps([group, timestamp, digest.hex()])
                    key = key if seen[digest] == 1 else f"{key} {seen[digest]}"
                    yield Entry(
                        self._owner(group, says),
                        key_hash("log_event", key),
                        content_hash(message.encode("utf-8", "replace")),
                    )

    def _owner(self, group: str, says: Mapping[str, str]) -> str:
        tenant = says.get("tenant_id") or says.get("tenant") or self._tenant_of(group) or "shared"
        user = next((says[name] for name in self._logs.user_fields if name in says), "")
        return f"{tenant}/{user}" if user else tenant

    def close(self) -> None:
        """Nothing of its own is open."""


def _digest(timestamp: int, message: str) -> bytes:
    data = f"{timestamp} {message}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).digest()


def _best(scope: Scope, needles: Needles, text: str) -> Found | None:
    """A canary where there is one: that it was seen must not depend on what else the line names."""
    for canary in scope.canaries:
        if (start := text.find(canary)) >= 0:
            return Found(CANARY, start, start + len(canary))
    return needles.find(text)


_PAIR = re.compile(
    r"""(?:^|[\s,;|(\[{"'])([A-Za-z_][\w.]*)["']?\s*[=:]\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;|)\]}"]+))"""
)


def _says(message: str) -> dict[str, str]:
    """Names and values in a line: of its JSON object, nested ones with dots, or else written as name=value."""
    start, end = message.find("{"), message.rfind("}")
    if 0 <= start < end:
        try:
            document = json.loads(message[start : end + 1])
        except ValueError:
            document = None
        if isinstance(document, dict):
            return dict(_flat(document, ""))
    return {name: quoted or bare for name, quoted, bare in _PAIR.findall(message)}


def _flat(value: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{before}{name}.")
        elif isinstance(inner, str | int | float) and not isinstance(inner, bool):
            yield f"{before}{name}", str(inner)


def _archived_group(key: str) -> str:
    return unquote(key.removeprefix(ARCHIVES).partition("/")[0])


def connect(place: Mapping[str, str], datamap: DataMap) -> CloudWatchVerifier:
    """The verifier of the logs at place["endpoint"], with the archive of place["archive_bucket"]."""
    return CloudWatchVerifier(place, datamap)
