"""Signed S3 requests of the eraser, over plain connections that are kept open.

Not boto3's client: it retries by itself behind the gate, signs without an end, and reads a listing of 1,000 entries
five times slower than its XML takes to parse. Signing is botocore's (SigV4 in the query, AWS General Reference):
each request carries the second in which it ends, so that a server that was stopped refuses it when it wakes.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import ssl
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlencode, urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lifecycle.systems.base import BatchOver, Permanent, Transient

READ_SECONDS = 60
_REGION = re.compile(r"s3[.-]([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com")
_BUSY = {
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationAborted",
    "ThrottlingException",
}
_EXPIRED = {"ExpiredToken", "RequestExpired", "ExpiredPresignRequest"}


class Busy(Transient):
    """The service asks for fewer requests, and did nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, lower-cased headers and body of one answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def code(self) -> str:
        """The error code of the body, "" where it has none."""
        if not self.body.lstrip().startswith(b"<"):
            return ""
        try:
            root = ET.fromstring(self.body)  # noqa: S314 - from the configured storage service
        except ET.ParseError:
            return ""
        found = root.find("Code") if root.tag == "Error" else None
        return (found.text or "") if found is not None else ""


def _expired(answer: Answer, code: str, ends: datetime) -> bool:
    """Whether a refusal means that the time is over: AWS and SeaweedFS say no more than AccessDenied in the code.

    A signature ends with a whole second, up to one before `ends`.
    """
    return code in _EXPIRED or b"expired" in answer.body.lower() or time.time() >= int(ends.timestamp())


class Wire:
    """Requests to one bucket with one key pair. Safe in threads: each has its own connection."""

    def __init__(self, place: Mapping[str, str], key: str, secret: str) -> None:
        self._endpoint = urlsplit(place["endpoint"])
        self.bucket = place["bucket"]
        found = _REGION.search(self._endpoint.netloc)
        self._region = place.get("region") or (found[1] if found else "us-east-1")
        self._credentials = Credentials(key, secret, place.get("session_token") or None)
        self._local = threading.local()
        self._opened: list[http.client.HTTPConnection] = []

    def send(
        self,
        method: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        ends: datetime | None = None,
        seconds: float = READ_SECONDS,
    ) -> Answer:
        """One request, refused by the server after `ends`. Raises BatchOver when no whole second is left till then.

        Raises Transient when the connection or the service fails, Permanent when the service refuses the credentials.
        """
        answer = self._exchange(method, self._path(key, query), body, ends, seconds)
        code = answer.code() if answer.status >= 400 else ""
        if answer.status in (429, 503) or code == "SlowDown":
            raise Busy(
                f"The object storage asks for fewer requests (status {answer.status}); try again later."
            )
        if answer.status in (500, 502, 504) or code in _BUSY:
            raise Transient(f"The object storage is busy (status {answer.status}); try again.")
        if ends is not None and answer.status in (400, 403) and _expired(answer, code, ends):
            raise BatchOver
        if code in ("NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            raise Permanent(
                f"The object storage answered {code}; check endpoint, bucket and key of this environment."
            )
        return answer

    def close(self) -> None:
        """Close every connection."""
        for connection in self._opened:
            connection.close()
        self._opened.clear()

    def _path(self, key: str, query: Mapping[str, str] | None) -> str:
        path = f"{self._endpoint.path.rstrip('/')}/{self.bucket}"
        if key:
            path += "/" + quote(key, safe="/~")
        return f"{path}?{urlencode(query or {}, quote_via=quote)}"

    def _exchange(self, method: str, path: str, body: bytes, ends: datetime | None, seconds: float) -> Answer:
        for fresh in (False, True):
            connection = self._connection(fresh, seconds)
            reused = connection.sock is not None
            target, headers = self._signed(method, path, body, ends)
            try:
                connection.request(method, target, body or None, headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                # Close at once: a server that wakes up later must find nobody waiting.
                connection.close()
                if isinstance(error, TimeoutError) and ends is not None:
                    raise BatchOver from error  # its time is up, here and by its signature at the server
                if reused and not isinstance(error, TimeoutError):
                    continue
                raise Transient("The object storage did not answer; try again when it is up.") from error
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)
        raise Transient("The object storage closed the connection twice; try again.")

    def _signed(
        self, method: str, path: str, body: bytes, ends: datetime | None
    ) -> tuple[str, dict[str, str]]:
        expires = 300 if ends is None else int(ends.timestamp()) - int(time.time())
        if expires < 1:
            raise BatchOver
        headers = {}
        if body:
            digest = hashlib.md5(body, usedforsecurity=False).digest()
            headers = {"Content-MD5": base64.b64encode(digest).decode(), "Content-Type": "application/xml"}
        base = f"{self._endpoint.scheme}://{self._endpoint.netloc}"
        request = AWSRequest(method=method, url=base + path, headers=headers)
        S3SigV4QueryAuth(self._credentials, "s3", self._region, expires=expires).add_auth(request)
        return str(request.url)[len(base) :], dict(request.headers.items())

    def _connection(self, fresh: bool, seconds: float) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None or fresh:
            if connection is not None:
                connection.close()
            connection = self._open()
            self._local.connection = connection
            self._opened.append(connection)
        connection.timeout = max(0.05, seconds)
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        return connection

    def _open(self) -> http.client.HTTPConnection:
        if self._endpoint.scheme == "https":
            return http.client.HTTPSConnection(self._endpoint.netloc, context=ssl.create_default_context())
        return http.client.HTTPConnection(self._endpoint.netloc)
