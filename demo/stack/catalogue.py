"""All servers of a stack."""

from demo.stack import apps, haproxy, moto, ours, postgres, prometheus, seaweed, valkey
from demo.stack.place import Place
from demo.stack.server import Server

KINDS = (ours, postgres, seaweed, valkey, moto, prometheus, haproxy, apps)


def all_servers(place: Place) -> list[Server]:
    """Return every server of the stack at `place`, in the order in which they should be started."""
    return [server for kind in KINDS for server in kind.servers(place)]
