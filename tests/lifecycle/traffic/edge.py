"""An HAProxy of a test's own, before two small servers that stand for the regions' applications."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lifecycle.traffic.configuration import HOME_MAP, MOVES_MAP, Shape, render
from lifecycle.traffic.haproxy import HAProxy

BLUE, GREEN = "us-east-1", "us-west-2"


class Region(ThreadingHTTPServer):
    """Answers with its name; `/stream` takes a second, `status` is what it answers, `silent` says it hangs."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name, self.status, self.streams, self.posts = name, 200, 0, 0
        self.silent = threading.Event()
        self.hangs = False
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Region

    def do_GET(self) -> None:
        if self.server.hangs:
            self.server.silent.wait(30)
        if self.path == "/stream":
            self._stream()
            return
        body = self.server.name.encode()
        self.send_response(200 if self.path == "/healthz" else self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts += 1
        self.close_connection = True  # no answer: whether it was done nobody knows

    def _stream(self) -> None:
        self.server.streams += 1
        self.send_response(200)
        self.send_header("Content-Length", "20")
        self.end_headers()
        for _ in range(20):
            self.wfile.write(b".")
            self.wfile.flush()
            time.sleep(0.05)
        self.server.streams -= 1

    def handle_one_request(self) -> None:
        # Checks and cut sessions hang up in the middle.
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def log_message(self, *_arguments: object) -> None:
        pass


@dataclass
class Edge:
    """The running parts. `ask` sends one GET and returns (status, region)."""

    folder: Path
    port: int
    log: socket.socket
    regions: dict[str, Region]
    process: subprocess.Popen[bytes] = field(repr=False)
    shape: Shape = field(repr=False)

    @property
    def traffic(self) -> HAProxy:
        """A new holder of the weights."""
        return HAProxy(
            socket_path=str(self.folder / "s"),
            maps=self.folder / "maps",
            default=BLUE,
            state=self.folder / "state",
        )

    def ask(self, tenant: str, user: str, path: str = "/", method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=8)
        try:
            headers = {"x-tenant": tenant, "x-user": user}
            connection.request(method, path, b"x" if method == "POST" else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def users_in(self, tenant: str, users: list[str], region: str) -> set[str]:
        """Those of the users whose request is answered by the region; all on one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=8)
        found = set()
        for user in users:
            connection.request("GET", "/", headers={"x-tenant": tenant, "x-user": user})
            if connection.getresponse().read().decode() == region:
                found.add(user)
        connection.close()
        return found

    def restart(self) -> None:
        """Kills HAProxy and starts it again on the same files."""
        self.process.kill()
        self.process.wait()
        self.process = _start(self.folder, self.port)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(folder: Path, apps: dict[str, str] | None = None) -> Iterator[Edge]:
    """An edge in `folder` before `apps` (host:port by region), or before two small servers of its own."""
    (folder / "maps").mkdir()
    for name in (HOME_MAP, MOVES_MAP):
        (folder / "maps" / name).touch()
    regions = {} if apps else {name: Region(name) for name in (BLUE, GREEN)}
    log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    log.bind(("127.0.0.1", 0))
    port = free_port()
    shape = Shape(
        address=f"127.0.0.1:{port}",
        metrics=f"127.0.0.1:{free_port()}",
        socket=folder / "s",
        maps=folder / "maps",
        log_udp=log.getsockname()[1],
        apps=apps or {name: f"127.0.0.1:{each.server_port}" for name, each in regions.items()},
        server_timeout_ms=2000,
    )
    (folder / "haproxy.cfg").write_text(render(shape))
    edge = Edge(folder, port, log, regions, _start(folder, port), shape)
    try:
        yield edge
    finally:
        edge.process.send_signal(signal.SIGKILL)
        edge.process.wait()
        log.close()
        for each in regions.values():
            each.silent.set()
            each.shutdown()
            each.server_close()


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    program = shutil.which("haproxy")
    assert program is not None
    with (folder / "log").open("ab") as output:
        process = subprocess.Popen(
            [program, "-db", "-f", str(folder / "haproxy.cfg")], stdout=output, stderr=output
        )
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process
        except OSError:
            time.sleep(0.01)
    raise AssertionError((folder / "log").read_text())
