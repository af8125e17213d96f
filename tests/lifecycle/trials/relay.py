"""A relay before the real S3 server that keeps deletions back for a while, so that a batch of them takes long.

It works on bytes: where one side closes, the other is closed too, as without it.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit


def _is_deletion(data: bytes) -> bool:
    target = data[: data.find(b" HTTP/1.1")]
    return (target.startswith(b"POST ") and b"delete=" in target) or (
        target.startswith(b"DELETE ") and b"uploadId=" in target
    )


class Relay:
    """Listens on a free port of loopback. `delay` is what each deletion waits, in seconds."""

    def __init__(self, endpoint: str, delay: float = 0.0) -> None:
        where = urlsplit(endpoint)
        self._upstream = (where.hostname or "127.0.0.1", where.port or 80)
        self.delay = delay
        self.deleting = threading.Event()  # set when a deletion arrives; cleared by the trial
        self.kept_back = 0
        self._count = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening; connections that stand end with their clients."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream, timeout=20)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        threading.Thread(target=_pump, args=(server, client), daemon=True).start()
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if _is_deletion(data):
                    self._keep_back()
                server.sendall(data)
        _end(server, client)

    def _keep_back(self) -> None:
        with self._count:
            self.kept_back += 1
        self.deleting.set()
        time.sleep(self.delay)
        with self._count:
            self.kept_back -= 1


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    _end(source, sink)


def _end(*ends: socket.socket) -> None:
    for each in ends:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
