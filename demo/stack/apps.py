"""The sample platform's service of each region."""

from __future__ import annotations

import sys

from demo.stack.describe import region as described
from demo.stack.describe import trial_key
from demo.stack.haproxy import app_name, app_url
from demo.stack.place import REGIONS, Place, write_private
from demo.stack.server import Server, answers


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
        ready=lambda: answers(f"{app_url(place, region)}/_alive"),
    )


def _configure(place: Place, region: str) -> None:
    name = app_name(region)
    write_private(
        place.data(name) / "settings.json",
        {
            "region": region,
            "port": place.ports.get(name),
            "places": {each: described(place, each) for each in REGIONS},
            "peers": {each: app_url(place, each) for each in REGIONS},
            "trial_key": trial_key(place),
        },
    )
