"""A proxy before the real S3 server that spoils some of its answers."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Answer = tuple[int, bytes]
# Gives the answer that the client gets instead: before the server is asked (None: ask it) ...
Before = Callable[[str, bytes], Answer | None]
# ... or after, from its true answer.
After = Callable[[str, Answer], Answer]
# Gives the headers of the answer, from its true ones, names in lower case. Without it none pass.
Headers = Callable[[str, dict[str, str]], dict[str, str]]
_OWN = {"content-length", "transfer-encoding", "connection", "date", "server"}


class Proxy:
    """Listens on a free port of loopback; the host header, which the signature covers, goes through unchanged."""

    def __init__(
        self, endpoint: str, before: Before, after: After, headers: Headers = lambda _, __: {}
    ) -> None:
        target = urlsplit(endpoint).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer, told = before(self.path, body), {}
                if answer is None:
                    upstream = http.client.HTTPConnection(target, timeout=20)
                    upstream.request(self.command, self.path, body or None, dict(self.headers))
                    response = upstream.getresponse()
                    answer = after(self.path, (response.status, response.read()))
                    told = headers(self.path, {k.lower(): v for k, v in response.getheaders()})
                    upstream.close()
                self.send_response(answer[0])
                # A HEAD tells the length of a body that does not follow.
                length = told.get("content-length", "0") if self.command == "HEAD" else str(len(answer[1]))
                self.send_header("Content-Length", length)
                for name, value in told.items():
                    if name not in _OWN:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer[1])

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
