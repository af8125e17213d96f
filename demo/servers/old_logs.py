"""moto with one more door: history. CloudWatch Logs takes no event older than 14 days, and moto refuses them too, but a
real log group holds events that were put when they were young. `python -m demo.servers.old_logs -H 127.0.0.1 -p PORT`
runs moto as `moto.server` does; `POST /_trial/old-logs` puts events into its state as if their time had come and gone.

`seed()` is the client: it makes group and stream where they are missing and uses the door for every event.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpx

from lifecycle.systems import clients

PATH = "/_trial/old-logs"
ACCOUNT = "123456789012"
_BATCH = 5_000
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def seed(endpoint: str, region: str, group: str, stream: str, events: Iterable[tuple[int, str]]) -> int:
    """Put events (milliseconds since the epoch, message) of any age into a stream; returns how many."""
    sent, part = 0, []
    with httpx.Client(timeout=60, verify=clients.trust()) as client:
        for timestamp, message in events:
            part.append({"timestamp": timestamp, "message": message})
            if len(part) == _BATCH:
                sent += _send(client, endpoint, region, group, stream, part)
                part = []
        return sent + _send(client, endpoint, region, group, stream, part)


def _send(
    client: httpx.Client, endpoint: str, region: str, group: str, stream: str, events: list[dict[str, Any]]
) -> int:
    body = {"region": region, "group": group, "stream": stream, "events": events}
    client.post(endpoint.rstrip("/") + PATH, json=body).raise_for_status()
    return len(events)


def with_history(application: Application) -> Application:
    """A WSGI application that answers `POST /_trial/old-logs` itself and leaves the rest to `application`."""

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != PATH or environ.get("REQUEST_METHOD") != "POST":
            return application(environ, start_response)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        _put(json.loads(environ["wsgi.input"].read(length)))
        start_response("204 No Content", [("Content-Length", "0")])
        return []

    return answer


def _put(body: dict[str, Any]) -> None:
    from moto.logs.models import logs_backends

    backend = logs_backends[ACCOUNT][body["region"]]
    if body["group"] not in backend.groups:
        backend.create_log_group(body["group"], {})
    group = backend.groups[body["group"]]
    if body["stream"] not in group.streams:
        group.create_log_stream(body["stream"])
    if body["events"]:
        group.put_log_events(
            body["stream"], sorted(body["events"], key=lambda event: int(event["timestamp"]))
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the process is ended."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import run_simple

    parser = argparse.ArgumentParser(prog="python -m demo.servers.old_logs", description=__doc__)
    parser.add_argument("-H", "--host", default="127.0.0.1")
    parser.add_argument("-p", "--port", type=int, required=True)
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("MOTO_PORT", str(chosen.port))
    application = with_history(DomainDispatcherApplication(create_backend_app))
    run_simple(chosen.host, chosen.port, application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
