"""Free loopback ports, remembered so that a restarted server keeps its own."""

import json
import random
import socket
import threading
import time
from pathlib import Path

# Below Linux's range of ports for outgoing connections: a client of ours must not be given the port
# of a server that is just being restarted.
LOWEST, HIGHEST = 15_000, 32_000


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reserve(port: int) -> socket.socket | None:
    """The port, kept from other stacks that choose at the same time until its server listens; None where it is taken."""
    made = socket.socket()
    try:
        made.bind(("127.0.0.1", port))
    except OSError:
        made.close()
        return None
    # From here on a server may bind it, since every one of them asks for a used address; another choice does not ask.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


class Ports:
    """The ports of one stack by name, kept in `path`; what this process chose it also keeps from others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._reserved: list[socket.socket] = []
        self._known: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, name: str) -> int:
        """Return the port called `name`, choosing a free one the first time."""
        with self._lock:
            if name not in self._known:
                self._known[name] = self._choose()
                self._save()
            return self._known[name]

    def renew_taken(self) -> None:
        """Forget ports that somebody else took while this stack was down. Call only while it is down."""
        deadline = time.monotonic() + 5.0
        # A killed server's port can stay taken for a moment; it is no stranger's.
        while not all(map(is_free, self._known.values())) and time.monotonic() < deadline:
            time.sleep(0.05)
        with self._lock:
            self._known = {name: port for name, port in self._known.items() if is_free(port)}
            self._save()

    def _choose(self) -> int:
        taken = set(self._known.values())
        for _ in range(2000):
            port = random.randint(LOWEST, HIGHEST)
            reserved = None if port in taken else _reserve(port)
            if reserved is not None:
                self._reserved.append(reserved)
                return port
        raise RuntimeError(
            f"No free port between {LOWEST} and {HIGHEST} on 127.0.0.1; end some programs and try again."
        )

    def _save(self) -> None:
        self._path.write_text(json.dumps(self._known, indent=1) + "\n")
