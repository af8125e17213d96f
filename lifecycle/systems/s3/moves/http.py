"""HTTP/1.1 over connections that are kept open, no more of it than S3 speaks.

Not http.client: parsing an answer's headers there takes five times as long as all of this, and a move of small
objects is nothing but answers (measured: docs/benchmarks.md).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from lifecycle.systems.base import Transient, Unreachable

_NO_BODY = {204, 304}
_LONGEST_HEAD = 256 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, lower-cased headers and whole body of one answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Broken(Exception):
    """The connection ended; `answered` says whether any byte of an answer had come."""

    def __init__(self, answered: bool) -> None:
        super().__init__("The connection ended.")
        self.answered = answered


class Line:
    """One connection to one server. For one thread at a time."""

    def __init__(self, endpoint: str, seconds: float) -> None:
        self._parts = urlsplit(endpoint)
        self._seconds = seconds
        self._socket: socket.socket | None = None
        self._rest = b""

    def exchange(self, method: str, head: bytes, body: bytes) -> Reply:
        """Sends one request (`head` ends with the blank line) and reads its answer.

        A connection that the server closed while it was idle is opened anew, once.
        """
        for _ in range(2):
            fresh = self._socket is None
            try:
                return self._once(method, head, body)
            except (OSError, Broken) as error:
                self.close()
                idle = (
                    not fresh
                    and not isinstance(error, TimeoutError)
                    and not getattr(error, "answered", False)
                )
                if not idle:
                    raise Unreachable(
                        "The object storage did not answer; try again when it is up."
                    ) from error
        raise Transient("The object storage closed the connection twice; try again.")

    def close(self) -> None:
        """Closes the connection; the next request opens one."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def _once(self, method: str, head: bytes, body: bytes) -> Reply:
        link = self._socket or self._open()
        if len(body) < 65_536:
            link.sendall(head + body)
        else:
            link.sendall(head)
            link.sendall(body)
        while True:
            status, headers = self._head(link)
            if status >= 200:
                break
        content = b"" if method == "HEAD" or status in _NO_BODY else self._body(link, headers)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Reply(status, headers, content)

    def _open(self) -> socket.socket:
        secure = self._parts.scheme == "https"
        host, port = self._parts.hostname or "", self._parts.port or (443 if secure else 80)
        link: socket.socket = socket.create_connection((host, port), self._seconds)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            link = ssl.create_default_context().wrap_socket(link, server_hostname=host)
        self._socket, self._rest = link, b""
        return link

    def _head(self, link: socket.socket) -> tuple[int, dict[str, str]]:
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = link.recv(65_536)
            if not more or len(data) > _LONGEST_HEAD:
                raise Broken(bool(data))
            data += more
        self._rest = data[end + 4 :]
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        try:
            return int(first.split(" ", 2)[1]), headers
        except (IndexError, ValueError):
            raise Broken(True) from None

    def _body(self, link: socket.socket, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks(link)
        if "content-length" in headers:
            return self._take(link, int(headers["content-length"]))
        parts = [self._rest]
        while more := link.recv(1 << 20):
            parts.append(more)
        self.close()
        return b"".join(parts)

    def _take(self, link: socket.socket, size: int) -> bytes:
        if len(self._rest) >= size:
            found, self._rest = self._rest[:size], self._rest[size:]
            return found
        parts, have = [self._rest], len(self._rest)
        self._rest = b""
        while have < size:
            more = link.recv(min(1 << 20, size - have))
            if not more:
                raise Broken(True)
            parts.append(more)
            have += len(more)
        return b"".join(parts)

    def _line(self, link: socket.socket) -> bytes:
        while (end := self._rest.find(b"\r\n")) < 0:
            more = link.recv(65_536)
            if not more:
                raise Broken(True)
            self._rest += more
        found, self._rest = self._rest[:end], self._rest[end + 2 :]
        return found

    def _chunks(self, link: socket.socket) -> bytes:
        parts = []
        while size := int(self._line(link).split(b";", 1)[0], 16):
            parts.append(self._take(link, size))
            self._take(link, 2)
        while self._line(link):
            pass
        return b"".join(parts)
