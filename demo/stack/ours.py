"""Servers of our own: Pinecone of each region, Datadog, the mail sink, the S3 access log."""

import signal
import socket
import sys

from demo.stack.place import REGIONS, Place
from demo.stack.server import Server, answers

INDEX = "rag"
DIMENSION = 8
DATADOG, MAIL, ACCESS_LOG = "datadog", "mail", "access-log"


def pinecone_name(region: str) -> str:
    """Return the name of the region's Pinecone server."""
    return f"pinecone-{region}"


def pinecone_reader_key(place: Place, region: str) -> str:
    """Return the API key of the region's Pinecone server that may only read."""
    return place.secrets.get(f"{pinecone_name(region)}/reader")


def address(place: Place, name: str) -> str:
    """Return the HTTP address of one of these servers."""
    return f"http://127.0.0.1:{place.ports.get(name)}"


def servers(place: Place) -> list[Server]:
    """Return all of them; the access log first, since the S3 servers write to it."""
    pinecone = [_pinecone(place, region) for region in REGIONS]
    return [_access_log(place), _mail(place), *pinecone, _datadog(place)]


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _pinecone(place: Place, region: str) -> Server:
    name = pinecone_name(region)
    port, key, state = place.ports.get(name), place.secrets.get(name), place.data(name)
    keys = ("--key", key, "--reader-key", pinecone_reader_key(place, region))
    options = ("--port", str(port), *keys, "--index", INDEX, "--dimension", str(DIMENSION))
    return Server(
        name=name,
        port=port,
        command=_python("demo.servers.pinecone", *options, "--state", str(state)),
        ready=lambda: answers(f"{address(place, name)}/healthz"),
        stop_signal=signal.SIGKILL,
        extra={"folder": str(state)},
    )


def _datadog(place: Place) -> Server:
    port, key, state = place.ports.get(DATADOG), place.secrets.get(DATADOG), place.data(DATADOG)
    options = ("--port", str(port), "--key", key, "--state", str(state))
    return Server(
        name=DATADOG,
        port=port,
        command=_python("demo.servers.datadog", *options),
        ready=lambda: answers(f"{address(place, DATADOG)}/healthz"),
        stop_signal=signal.SIGKILL,
        extra={"folder": str(state)},
    )


def _mail(place: Place) -> Server:
    port = place.ports.get(MAIL)
    return Server(
        name=MAIL,
        port=port,
        command=_python("demo.stack.mail_sink", "--port", str(port), "--folder", str(place.root / "mail")),
        ready=lambda: _listens(port),
        stop_signal=signal.SIGKILL,
    )


def _access_log(place: Place) -> Server:
    port = place.ports.get(ACCESS_LOG)
    return Server(
        name=ACCESS_LOG,
        port=port,
        command=_python("demo.stack.access_log", "--port", str(port), "--folder", str(place.root / "log")),
        ready=lambda: _listens(port),
    )


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True
