"""Prometheus of each region, with the admin API and remote write."""

import shutil
from pathlib import Path

from demo.stack.place import REGIONS, Place
from demo.stack.server import Server, answers

# Nothing is scraped: series come in by remote write, old ones too.
CONFIGURATION = """\
global:
  scrape_interval: 15s
storage:
  tsdb:
    out_of_order_time_window: 30d
"""


def region_name(region: str) -> str:
    """Return the name of the region's server."""
    return f"prometheus-{region}"


def url(place: Place, region: str) -> str:
    """Return the address of the region's server."""
    return f"http://127.0.0.1:{place.ports.get(region_name(region))}"


def servers(place: Place) -> list[Server]:
    """Return one server a region."""
    return [_server(place, region) for region in REGIONS]


def _server(place: Place, region: str) -> Server:
    name, program = region_name(region), shutil.which("prometheus")
    if program is None:
        raise RuntimeError("The program prometheus is not installed; run bin/debian-parts as root.")
    data = place.data(name)
    return Server(
        name=name,
        port=place.ports.get(name),
        command=(
            program,
            f"--config.file={data / 'prometheus.yml'}",
            f"--storage.tsdb.path={data / 'series'}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address=127.0.0.1:{place.ports.get(name)}",
            "--web.enable-admin-api",
            "--web.enable-remote-write-receiver",
            "--log.level=warn",
        ),
        prepare=lambda: _configure(data),
        ready=lambda: answers(f"{url(place, region)}/-/ready"),
    )


def _configure(data: Path) -> None:
    (data / "prometheus.yml").write_text(CONFIGURATION)
