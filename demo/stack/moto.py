"""moto: CloudWatch Logs of both regions, with a door for old history. Its state is in memory and ends with the process."""

import signal
import sys

from demo.stack.place import CHECKOUT, Place
from demo.stack.server import Server, answers

NAME = "logs"


def endpoint(place: Place) -> str:
    """Return the address that an AWS client takes as `endpoint_url`."""
    return f"http://127.0.0.1:{place.ports.get(NAME)}"


def servers(place: Place) -> list[Server]:
    """Return the one server; it keeps regions apart by the region that a request is signed for."""
    port = place.ports.get(NAME)
    return [
        Server(
            name=NAME,
            port=port,
            command=(sys.executable, "-m", "demo.servers.old_logs", "-H", "127.0.0.1", "-p", str(port)),
            environment={
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
                "PYTHONPATH": str(CHECKOUT),
            },
            ready=lambda: answers(f"{endpoint(place)}/moto-api/"),
            stop_signal=signal.SIGKILL,
        )
    ]
