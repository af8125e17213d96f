"""A small application that takes part in moves, one per region, with faults that can be switched on."""

from __future__ import annotations

import http.client
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg2
from psycopg2.pool import ThreadedConnectionPool

from tests.lifecycle.watchdog.pair import TENANT

ANSWER = "5f2a"


class Service(ThreadingHTTPServer):
    """One region's application. `fault`: errors, failing (errors of all but the health check), hang, wrong or slow;
    `others`: ports by region, to forward to; `reached`: when a user's request came last (monotonic seconds)."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, region: str, dsn: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.region, self.fault, self.others = region, "", dict[str, int]()
        self.pool = ThreadedConnectionPool(0, 40, dsn, connect_timeout=1)
        self.woken = threading.Event()
        self.reached = 0.0
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def crash(self) -> None:
        """Gone: nothing listens, and what was under way is cut."""
        self.fault = "hang"
        self.shutdown()
        self.server_close()

    def handle_error(self, *_arguments: Any) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Service

    def do_GET(self) -> None:
        if not self._faulty():
            wrong = self.server.fault == "wrong" and self.path.startswith("/_golden")
            self._say(200, {"answer": "other" if wrong else ANSWER, "region": self.server.region})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self._faulty():
            return
        if self.path.startswith("/_golden"):
            self._say(200, {})
        else:
            self._write(body.decode() or secrets.token_hex(8))

    def _faulty(self) -> bool:
        fault = self.server.fault
        if self.path == "/notes" and self.headers["x-hop"] is None:
            self.server.reached = time.monotonic()
        if fault == "hang":
            self.server.woken.wait(30)
        if fault == "slow":
            time.sleep(0.4)
        fails = fault == "errors" or (fault == "failing" and self.path != "/healthz")
        if fails:
            self._say(500, {})
        return fails

    def _write(self, note: str) -> None:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                self._insert(note)
                self._say(201, {"id": note, "owner": self.server.region})
                return
            except psycopg2.Error as failure:
                owner = failure.diag.message_detail if failure.pgcode == "LM001" else None
                if owner and self.headers["x-hop"] is None and self._forward(owner, note):
                    return
                if failure.pgcode not in ("LM001", "LM002") or self.headers["x-hop"]:
                    break
            time.sleep(0.005)
        self._say(503, {})

    def _insert(self, note: str) -> None:
        line = self.server.pool.getconn()
        try:
            with line, line.cursor() as cursor:
                cursor.execute("SELECT lifecycle.begin_write(%s)", [TENANT])
                cursor.execute("INSERT INTO notes (tenant_id, id) VALUES (%s, %s)", [TENANT, note])
            with line, line.cursor() as cursor:
                cursor.execute(
                    "SELECT lease_until > clock_timestamp() FROM lifecycle.route WHERE tenant_id = %s",
                    [TENANT],
                )
                if cursor.fetchone() != (True,):
                    raise psycopg2.OperationalError("outcome unknown")
        finally:
            self.server.pool.putconn(line, close=bool(line.closed))

    def _forward(self, owner: str, note: str) -> bool:
        line = http.client.HTTPConnection("127.0.0.1", self.server.others[owner], timeout=2)
        try:
            line.request("POST", "/notes", note, {"x-hop": "1"})
            answer = line.getresponse()
            if answer.status == 201:
                self._say(201, json.loads(answer.read()))
                return True
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            line.close()
        return False

    def _say(self, status: int, page: dict[str, Any]) -> None:
        body = json.dumps(page).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass
