"""`python -m demo.service --settings FILE`: serves one region until it is told to stop."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from demo.service.rag import Service
from demo.service.requests import Answer, Desk, Request

MAX_BODY = 8 * 1024 * 1024


class Server(ThreadingHTTPServer):
    """One thread a connection."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, desk: Desk, region: str) -> None:
        self.desk, self.region = desk, region
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event; anything else is named by kind only."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"internal error {type(error).__name__}", file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def _serve(self) -> None:
        length = self.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            self._say(Answer(413, b"{}"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._say(
            self.server.desk.answer(Request(self.command, self.path, headers, self.rfile.read(int(length))))
        )

    do_GET = do_POST = do_DELETE = _serve

    def _say(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        fields = {"content-type": answer.kind, "x-region": self.server.region, **answer.headers}
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: addresses of documents and users stay out of logs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=Path, required=True)
    given = json.loads(parser.parse_args().settings.read_text())
    threading.stack_size(512 * 1024)
    service = Service(given["region"], given["places"])
    desk = Desk(service, given["peers"], given["trial_key"])
    server = Server(given["port"], desk, given["region"])
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.2)


if __name__ == "__main__":
    main()
