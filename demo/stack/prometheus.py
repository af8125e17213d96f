"""Prometheus of each region, with the admin API and remote write."""

import shutil
from pathlib import Path

from demo.stack import haproxy
from demo.stack.place import REGIONS, Place
from demo.stack.server import Server, answers

# Old series come in by remote write; the region's service and the load balancer are scraped.
CONFIGURATION = """\
global:
  scrape_interval: 15s
storage:
  tsdb:
    out_of_order_time_window: 30d
scrape_configs:
  - job_name: app
    scrape_interval: 1s
    static_configs: [{{targets: ["127.0.0.1:{app}"]}}]
  - job_name: haproxy
    scrape_interval: 1s
    params: {{scope: [frontend, backend]}}
    static_configs: [{{targets: ["127.0.0.1:{haproxy}"]}}]
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
        prepare=lambda: _configure(place, region, data),
        ready=lambda: answers(f"{url(place, region)}/-/ready"),
    )


def _configure(place: Place, region: str, data: Path) -> None:
    text = CONFIGURATION.format(
        app=place.ports.get(haproxy.app_name(region)), haproxy=place.ports.get(f"{haproxy.NAME}/metrics")
    )
    (data / "prometheus.yml").write_text(text)
