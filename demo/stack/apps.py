"""The sample platform's service of each region."""

from __future__ import annotations

import sys

from demo.stack.haproxy import app_name
from demo.stack.place import REGIONS, Place, write_private
from demo.stack.server import Server, answers

TRIAL = "trial"


def url(place: Place, region: str) -> str:
    """Return the address of the region's service."""
    return f"http://127.0.0.1:{place.ports.get(app_name(region))}"


def trial_key(place: Place) -> str:
    """Return what a trial says to switch faults on."""
    return place.secrets.get(TRIAL)


def servers(place: Place) -> list[Server]:
    """Return one service a region."""
    return [_server(place, region) for region in REGIONS]


def _server(place: Place, region: str) -> Server:
    name = app_name(region)
    settings = place.data(name) / "settings.json"
    return Server(
        name=name,
        port=place.ports.get(name),
        command=(sys.executable, "-m", "demo.service", "--settings", str(settings)),
        prepare=lambda: _configure(place, region),
        ready=lambda: answers(f"{url(place, region)}/_alive"),
    )


def _configure(place: Place, region: str) -> None:
    from demo.stack.describe import region as described  # describe names this module's addresses

    name = app_name(region)
    write_private(
        place.data(name) / "settings.json",
        {
            "region": region,
            "port": place.ports.get(name),
            "places": {each: described(place, each) for each in REGIONS},
            "peers": {each: url(place, each) for each in REGIONS},
            "trial_key": trial_key(place),
        },
    )
