"""Receiver of SeaweedFS' audit log: one JSON line for each request and each deleted key.

`python -m demo.stack.access_log --port P --folder DIR` takes Fluentd's forward protocol in its JSON form
and appends to `DIR/SERVER.access.jsonl`: `at` (seconds since 1970 when the server reported it, after the
work was done), `began` (when the request arrived), `operation`, `bucket`, `key`, `status`, `error`,
`requester`, `request_id`, and `deleted` (true where this key, version or upload was removed). Lines that a
killed S3 server had not sent yet are lost.
"""

import argparse
import codecs
import json
import socketserver
import threading
import time
from pathlib import Path
from typing import Any, TextIO


class AccessLog:
    """Appends records to one file for each S3 server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files: dict[str, TextIO] = {}

    def write(self, records: list[tuple[str, dict[str, Any]]]) -> None:
        """Append each (server name, record) and flush, so that a reader sees whole lines soon."""
        now = time.time()
        with self._lock:
            for server, record in records:
                if server not in self._files:
                    self._files[server] = (self._folder / f"{server}.access.jsonl").open("a")
                self._files[server].write(json.dumps(_line(record, now)) + "\n")
            for server in {server for server, _ in records}:
                self._files[server].flush()


def _line(record: dict[str, Any], now: float) -> dict[str, Any]:
    request = str(record.get("request_id", ""))
    # SeaweedFS makes the first half of a request's id from its arrival time in nanoseconds; the
    # record's own time has whole seconds only.
    began = int(request[:16], 16) / 1e9 if len(request) >= 16 else float(record.get("time", 0))
    kept = {
        name: record.get(name) for name in ("operation", "bucket", "key", "status", "requester", "request_id")
    }
    error = record.get("error_code") or ""
    # A batch has one line for each key that it removed, under the name of the batch's own POST.
    removes = record.get("operation") in ("REST.POST.OBJECT", "REST.DELETE.OBJECT")
    deleted = removes and record.get("status") == 204 and bool(record.get("key")) and not error
    return {"at": now, "began": began, **kept, "error": error, "deleted": deleted}


class Handler(socketserver.BaseRequestHandler):
    """Reads `["SERVER.s3.access", seconds, record, options]` arrays that follow each other unseparated."""

    def handle(self) -> None:
        """Read until the sender closes the connection."""
        log: AccessLog = self.server.access_log  # type: ignore[attr-defined]
        text, decoder = codecs.getincrementaldecoder("utf-8")("replace"), json.JSONDecoder()
        waiting = ""
        while data := self.request.recv(1 << 16):
            waiting += text.decode(data)
            records, position = [], 0
            while (start := waiting.find("[", position)) >= 0:
                try:
                    (tag, _, record, *_), position = decoder.raw_decode(waiting, start)
                except json.JSONDecodeError:
                    break
                records.append((str(tag).split(".", 1)[0], record))
            waiting = waiting[position:]
            if records:
                log.write(records)


class Receiver(socketserver.ThreadingTCPServer):
    """The listening socket and the log behind it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, folder: Path) -> None:
        self.access_log = AccessLog(folder)
        super().__init__(("127.0.0.1", port), Handler)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    with Receiver(arguments.port, arguments.folder) as receiver:
        receiver.serve_forever()


if __name__ == "__main__":
    main()
