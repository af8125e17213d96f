"""A minimal HTTP/1.1 server on asyncio, shared by the local Pinecone and Datadog servers.

One thread, keep-alive, no TLS, loopback only. A handler is an async function from Request to Response.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

LOOPBACK = "127.0.0.1"
MAX_HEADER_BYTES = 256 * 1024  # a fetch of 1,000 ids of 512 characters arrives in the request line
MAX_BODY_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Request:
    """One request. `path` is still percent-encoded, so that a `/` inside a segment stays inside it."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    port: int

    def segments(self) -> list[str]:
        """The path's segments, decoded."""
        return [unquote(part) for part in self.path.strip("/").split("/")]

    def param(self, name: str) -> str | None:
        """The first value of a query parameter, or None."""
        values = self.query.get(name)
        return values[0] if values else None


@dataclass(slots=True)
class Response:
    """One answer; `body` is JSON bytes."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Response]]


class BadRequest(ValueError):
    """The bytes on the connection are not a request this server understands."""


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A Response with `value` as its JSON body."""
    return Response(status, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), headers or {})


def _decode(body: bytes, encoding: str) -> bytes:
    try:
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
    except (OSError, zlib.error, EOFError) as error:
        raise BadRequest(f"The body is not valid {encoding} data; send it uncompressed.") from error
    if encoding in ("", "identity"):
        return body
    raise BadRequest("This Content-Encoding is not known here; use identity, gzip or deflate.")


async def _read_request(reader: asyncio.StreamReader, port: int) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequest("The request's headers are too long.") from error
    lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, _version = lines[0].split(" ")
    except ValueError as error:
        raise BadRequest("The request line is malformed.") from error
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise BadRequest("Chunked bodies are not accepted here; send a Content-Length.")
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise BadRequest("The Content-Length is missing, malformed or too large.")
    body = await reader.readexactly(int(length)) if length != "0" else b""
    body = _decode(body, headers.get("content-encoding", "").lower())
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True) if parts.query else {}
    return Request(method, parts.path, query, headers, body, port)


def _encode(response: Response, *, close: bool) -> bytes:
    phrase = HTTPStatus(response.status).phrase
    lines = [
        f"HTTP/1.1 {response.status} {phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(response.body)}",
    ]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + response.body


async def _answer(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except Exception as error:
        # The text of an error may quote a record, so only its kind and place go to the log.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown place"
        print(f"internal error {type(error).__name__} at {place}", file=sys.stderr, flush=True)
        return json_response(
            {"code": 13, "message": "Internal error of the local server; see its log.", "details": []}, 500
        )


async def _serve_connection(
    handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    port = int(writer.get_extra_info("sockname")[1])
    try:
        while True:
            try:
                request = await _read_request(reader, port)
            except BadRequest as error:
                writer.write(
                    _encode(json_response({"code": 3, "message": str(error), "details": []}, 400), close=True)
                )
                await writer.drain()
                return
            if request is None:
                return
            response = await _answer(handler, request)
            close = request.headers.get("connection", "").lower() == "close"
            writer.write(_encode(response, close=close))
            await writer.drain()
            if close:
                return
    except (ConnectionError, asyncio.IncompleteReadError):
        return  # the client went away; what it had asked for was carried out or never began
    finally:
        writer.close()


async def listen(handler: Handler, port: int) -> asyncio.Server:
    """Listen on 127.0.0.1:`port` (0 = any free port) and answer with `handler`."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve_connection(handler, reader, writer)

    return await asyncio.start_server(connected, LOOPBACK, port, limit=MAX_HEADER_BYTES, backlog=512)


def port_of(server: asyncio.Server) -> int:
    """The port a listening server got."""
    return int(server.sockets[0].getsockname()[1])
