"""HAProxy before both regions' application, split by the maps that the watchdog changes."""

import shutil
from pathlib import Path
from typing import Any

from demo.stack.place import REGIONS, Place
from demo.stack.server import Server, answers
from lifecycle.traffic.configuration import HOME_MAP, MOVES_MAP, Shape, render

NAME = "haproxy"
# Longer paths don't fit into a socket's address, with what HAProxy adds while it starts.
LONGEST_SOCKET = 90


def app_name(region: str) -> str:
    """Return the name of the region's application server."""
    return f"app-{region}"


def app_url(place: Place, region: str) -> str:
    """Return the address of the region's service itself."""
    return f"http://127.0.0.1:{place.ports.get(app_name(region))}"


def url(place: Place) -> str:
    """Return the address that clients of the platform use."""
    return f"http://127.0.0.1:{place.ports.get(NAME)}"


def socket_path(place: Place) -> Path:
    """Return the runtime socket's path."""
    path = place.data(NAME) / "s"
    if len(str(path)) <= LONGEST_SOCKET:
        return path
    return Path(f"/tmp/lifecycle-haproxy-{place.ports.get(NAME)}.sock")  # noqa: S108 - mode 600, by HAProxy


def describe(place: Place) -> dict[str, Any]:
    """Return what stack.json says of the traffic."""
    return {
        "url": url(place),
        "socket": str(socket_path(place)),
        "maps": str(_maps(place)),
        "log_udp": place.ports.get(f"{NAME}/log"),
        "metrics": f"{_metrics(place)}/metrics?scope=frontend&scope=backend",
        "state": str(place.data("watchdog")),
        "default": REGIONS[0],
    }


def servers(place: Place) -> list[Server]:
    """Return the one server."""
    program = shutil.which("haproxy")
    if program is None:
        raise RuntimeError("The program haproxy is not installed; run bin/debian-parts as root.")
    configuration = place.data(NAME) / "haproxy.cfg"
    return [
        Server(
            name=NAME,
            port=place.ports.get(NAME),
            command=(program, "-db", "-f", str(configuration)),
            prepare=lambda: _configure(place, configuration),
            ready=lambda: answers(f"{_metrics(place)}/ready"),
        )
    ]


def _metrics(place: Place) -> str:
    return f"http://127.0.0.1:{place.ports.get(f'{NAME}/metrics')}"


def _maps(place: Place) -> Path:
    return place.data(NAME) / "maps"


def _configure(place: Place, configuration: Path) -> None:
    maps = _maps(place)
    maps.mkdir(exist_ok=True)
    for name in (HOME_MAP, MOVES_MAP):
        (maps / name).touch()
    shape = Shape(
        address=f"127.0.0.1:{place.ports.get(NAME)}",
        metrics=f"127.0.0.1:{place.ports.get(f'{NAME}/metrics')}",
        socket=socket_path(place),
        maps=maps,
        log_udp=place.ports.get(f"{NAME}/log"),
        apps={region: f"127.0.0.1:{place.ports.get(app_name(region))}" for region in REGIONS},
    )
    configuration.write_text(render(shape))
