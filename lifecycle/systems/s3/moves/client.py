"""One bucket, as a move reads and writes it: versions with all that belongs to them.

Requests are signed in their headers (SigV4, AWS General Reference) with the SHA-256 of the body, so that the server
refuses bytes that changed on their way.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.s3.moves.http import Line, Reply
from lifecycle.systems.s3.wire import Answer, Wire

SECONDS = 60.0
_REGION = re.compile(r"s3[.-]([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com")
_EMPTY = hashlib.sha256(b"").hexdigest()
_KEPT = (
    "content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires",
    "x-amz-storage-class", "x-amz-website-redirect-location",
)  # fmt: skip
LOCKS = ("x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold")
_PLAIN = re.compile("[0-9a-f]{32}")
_READINGS = 3
_WRONG = ("NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied")


@dataclass(frozen=True, slots=True)
class Written:
    """A version as the server says it stored it. `proven`: its ETag is the MD5 of the bytes that were sent."""

    id: str
    etag: str
    proven: bool


@dataclass(frozen=True, slots=True)
class Content:
    """One version as it is read: bytes, what describes them, and their sha256."""

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    sha256: str
    tagged: bool


class Client:
    """Requests to one bucket. Safe in threads: each has its own connection."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self.bucket = place["bucket"]
        self._place = place
        parts = urlsplit(place["endpoint"])
        self._host, self._root = parts.netloc, parts.path.rstrip("/")
        found = _REGION.search(self._host)
        self._region = place.get("region") or (found[1] if found else "us-east-1")
        self._keys: dict[str, bytes] = {}
        self._local = threading.local()
        self._lines: list[Line] = []

    def read(self, key: str, version: str = "") -> Content | None:
        """One version (the current one without `version`); None where it is not there.

        Bytes that are not those of a plain MD5 in the ETag count once a second reading has the same.
        """
        first: str | None = None
        for _ in range(_READINGS):
            reply = self.ask("GET", key, {"versionId": version} if version else {})
            if reply.status in (404, 405):  # 405: a delete marker
                return None
            _accept(reply, 200)
            sha256 = hashlib.sha256(reply.body).hexdigest()
            if sha256 == first or not _doubtful(reply):
                tagged = reply.headers.get("x-amz-tagging-count", "0") != "0"
                return Content(reply.body, _kept(reply.headers), sha256, tagged)
            first = sha256
        raise Transient("An object was read differently each time; try again, then check the object storage.")

    def look(self, key: str) -> tuple[bool, dict[str, str] | None]:
        """Whether the bucket (one that keeps versions) knows a key at all, and what a reader's HEAD tells."""
        reply = self.ask("HEAD", key, {})
        if reply.status == 404:
            return reply.headers.get("x-amz-delete-marker") == "true", None
        _accept(reply, 200)
        return True, _described(reply)

    def head(self, key: str, version: str = "") -> dict[str, str] | None:
        """What describes a version, as `read` gives it and with its length, without its bytes."""
        reply = self.ask("HEAD", key, {"versionId": version} if version else {})
        if reply.status in (404, 405):
            return None
        _accept(reply, 200)
        return _described(reply)

    def put_tags(self, key: str, version: str, tags: str) -> None:
        """Sets the tags of a version, given in the form of the x-amz-tagging header."""
        pairs = "".join(
            f"<Tag><Key>{escape(unquote(name))}</Key><Value>{escape(unquote(value))}</Value></Tag>"
            for name, _, value in (each.partition("=") for each in tags.split("&"))
        )
        self._set(key, version, "tagging", f"<Tagging><TagSet>{pairs}</TagSet></Tagging>")

    def put_locks(self, key: str, version: str, headers: Mapping[str, str]) -> None:
        """Puts the locks that `headers` (as read) name on a version that was stored without them."""
        mode, until, hold = (headers.get(name, "") for name in LOCKS)
        if mode and until:
            body = f"<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
            self._set(key, version, "retention", body)
        if hold == "ON":
            self._set(key, version, "legal-hold", "<LegalHold><Status>ON</Status></LegalHold>")

    def write(self, key: str, content: Content, tags: str = "") -> Written:
        """Stores a version. The server checks the bytes against their sha256."""
        headers = dict(content.headers)
        if tags:
            headers["x-amz-tagging"] = tags
        if any(name in headers for name in LOCKS):  # S3 takes no lock without it
            headers["content-md5"] = base64.b64encode(_md5(content.body)).decode()
        reply = self.ask("PUT", key, {}, headers, content.body, content.sha256)
        _accept(reply, 200)
        etag = reply.headers.get("etag", "").strip('"')
        return Written(reply.headers.get("x-amz-version-id", ""), etag, etag == _md5(content.body).hex())

    def tags(self, key: str, version: str = "") -> str:
        """The tags of a version in the form of the x-amz-tagging header, "" for none."""
        reply = self.ask("GET", key, {"tagging": "", **({"versionId": version} if version else {})})
        if reply.status == 404:
            return ""
        _accept(reply, 200)
        pairs: dict[str, str] = {}
        for element in ET.fromstring(reply.body).iter():  # noqa: S314 - from the configured storage service
            if element.tag.rpartition("}")[2] == "Tag":
                values = {child.tag.rpartition("}")[2]: child.text or "" for child in element}
                pairs[values.get("Key", "")] = values.get("Value", "")
        return "&".join(
            f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(pairs.items())
        )

    def mark_deleted(self, key: str) -> None:
        """Puts a delete marker on a key."""
        _accept(self.ask("DELETE", key, {}), 200, 204)

    def remove(self, key: str, version: str) -> None:
        """Removes one version or delete marker for good; one that is gone is removed."""
        reply = self.ask("DELETE", key, {"versionId": version})
        if reply.status != 404:
            _accept(reply, 200, 204)

    def has_locks(self) -> bool:
        """Whether the bucket was made with Object Lock."""
        reply = self.ask("GET", "", {"object-lock": ""})
        return reply.status == 200 and b"Enabled" in reply.body

    def keeps_versions(self) -> bool:
        """Whether the bucket keeps versions."""
        reply = self.ask("GET", "", {"versioning": ""})
        _accept(reply, 200)
        return b">Enabled<" in reply.body

    def ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        sha256: str = "",
    ) -> Reply:
        """One signed request. Waits out "too many requests" for a while; raises Transient where the service fails."""
        wait, ends = 0.05, time.monotonic() + SECONDS
        while True:
            head = self._head(method, key, query, headers or {}, body, sha256)
            reply = self._line().exchange(method, head, body)
            if reply.status < 500 and reply.status != 429:
                break
            if reply.status not in (429, 503) or time.monotonic() + wait > ends:
                raise Transient(f"The object storage is busy (status {reply.status}); try again.")
            time.sleep(wait)
            wait = min(2.0, wait * 2)
        return reply

    def close(self) -> None:
        """Closes every connection."""
        for line in self._lines:
            line.close()
        self._lines.clear()

    def _set(self, key: str, version: str, what: str, document: str) -> None:
        body = document.encode()
        query = {what: "", **({"versionId": version} if version else {})}
        _accept(
            self.ask("PUT", key, query, {"content-md5": base64.b64encode(_md5(body)).decode()}, body),
            200,
            204,
        )

    def _line(self) -> Line:
        line: Line | None = getattr(self._local, "line", None)
        if line is None:
            line = self._local.line = Line(self._place["endpoint"], SECONDS)
            self._lines.append(line)
        return line

    def _head(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        sha256: str,
    ) -> bytes:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = f"{self._root}/{self.bucket}" + (f"/{quote(key, safe='/~')}" if key else "")
        asked = "&".join(f"{quote(n, safe='~')}={quote(v, safe='~')}" for n, v in sorted(query.items()))
        digest = sha256 or (hashlib.sha256(body).hexdigest() if body else _EMPTY)
        signed = {"host": self._host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        if token := self._place.get("session_token"):
            signed["x-amz-security-token"] = token
        signed |= {name: value for name, value in headers.items() if name.startswith("x-amz-")}
        names = sorted(signed)
        joined = ";".join(names)
        lines = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in names)
        canonical = f"{method}\n{path}\n{asked}\n{lines}\n{joined}\n{digest}"
        scope = f"{stamp[:8]}/{self._region}/s3/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}"
        signature = hmac.new(self._signing_key(stamp[:8]), text.encode(), hashlib.sha256).hexdigest()
        sent = {name: value for name, value in headers.items() if not name.startswith("x-amz-")} | signed
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._place['key']}/{scope}, SignedHeaders={joined}, Signature={signature}"
        )
        if body or method in ("PUT", "POST"):
            sent["content-length"] = str(len(body))
        target = f"{path}?{asked}" if asked else path
        written = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return f"{method} {target} HTTP/1.1\r\n{written}\r\n".encode("latin-1")

    def _signing_key(self, day: str) -> bytes:
        made = self._keys.get(day)
        if made is None:
            made = f"AWS4{self._place['secret']}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                made = hmac.new(made, part.encode(), hashlib.sha256).digest()
            self._keys = {day: made}
        return made


class Listings(Wire):
    """The wire that listings are read with, on the client's quick connections and signatures."""

    def __init__(self, client: Client, place: Mapping[str, str]) -> None:
        super().__init__(place, place["key"], place["secret"])
        self._client = client

    def _exchange(self, method: str, path: str, body: bytes, ends: datetime | None, seconds: float) -> Answer:
        target, _, query = path.partition("?")
        if ends is not None or body or unquote(target).rpartition("/")[2] != self.bucket:
            return super()._exchange(method, path, body, ends, seconds)
        reply = self._client.ask(method, "", dict(parse_qsl(query, keep_blank_values=True)))
        return Answer(reply.status, reply.headers, reply.body)


def _described(reply: Reply) -> dict[str, str]:
    beside = {
        name: value
        for name, value in reply.headers.items()
        if name == "content-length" or (name == "x-amz-tagging-count" and value != "0")
    }
    return _kept(reply.headers) | beside


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name: headers[name] for name in _KEPT if headers.get(name)}
    kept |= {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
    if kept.get("content-encoding") == "aws-chunked":
        del kept["content-encoding"]
    mode, until, hold = (headers.get(name, "") for name in LOCKS)
    if mode and until and datetime.fromisoformat(until.replace("Z", "+00:00")) > datetime.now(UTC):
        kept |= {LOCKS[0]: mode, LOCKS[1]: until}
    return kept | ({LOCKS[2]: hold} if hold == "ON" else {})


def _md5(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


def _doubtful(reply: Reply) -> bool:
    """Whether an ETag has the form of an MD5 and is not the body's (nor one of a version that AWS KMS encrypted)."""
    etag = reply.headers.get("etag", "").strip('"')
    return bool(_PLAIN.fullmatch(etag)) and _md5(reply.body).hex() != etag and not _encrypted(reply.headers)


def _encrypted(headers: Mapping[str, str]) -> bool:
    """Whether an ETag is no MD5 since the version lies encrypted by KMS or the customer's own key."""
    by = headers.get("x-amz-server-side-encryption", "")
    return by.startswith("aws:kms") or "x-amz-server-side-encryption-customer-algorithm" in headers


def _accept(reply: Reply, *wanted: int) -> None:
    if reply.status in wanted:
        return
    code = _code(reply.body)
    if code in _WRONG or reply.status in (401, 403):
        raise Permanent(
            f"The object storage answered {code or reply.status} to a move; check endpoint, bucket and rights of the key."
        )
    raise Permanent(f"The object storage refused a request of a move (status {reply.status} {code}).")


def _code(body: bytes) -> str:
    found = re.search(rb"<Code>([A-Za-z]+)</Code>", body)
    return found[1].decode() if found else ""


def names_of(headers: Iterable[str]) -> set[str]:
    """The header names that make out an object: not its storage class, not its locks."""
    described = {name for name in _KEPT if name != "x-amz-storage-class"}
    return {name for name in headers if name in described or name.startswith("x-amz-meta-")}
