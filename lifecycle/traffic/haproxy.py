"""HAProxy: splits are entries of two maps, changed through the runtime socket and written to files for a restart.

The socket first (0.3 ms), then the file: between both the watchdog's own record decides, which it asserts every second.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from lifecycle.traffic.base import Count, Refused, Split, Unreachable, checked
from lifecycle.traffic.configuration import HOME_MAP, MOVES_MAP, SLOTS

_TIMEOUT_S = 1.0
_ENTRY = re.compile(r"^0x[0-9a-f]+ (\S+) (.*)$", re.M)


class HAProxy:
    """One HAProxy configured by `configuration.render`. Use it in one thread.

    `state`: folder of the lock that lets only one process change weights. Without it nothing can be changed here,
    only read. `default`: the region of tenants that stand in no map.
    """

    def __init__(self, *, socket_path: str, maps: Path, default: str, state: Path | None = None) -> None:
        self._socket_path, self._maps, self._default = socket_path, maps, default
        self._lock: io.TextIOWrapper | None = _locked(state / "weights.lock") if state else None

    def read(self, tenant: str) -> Split:
        """The split in force. Raises Unreachable."""
        found = self._moves().get(checked(tenant))
        return found[0] if found else Split(self._homes().get(tenant, self._default))

    def moving(self) -> Mapping[str, Split]:
        """The splits of all moving tenants. Raises Unreachable."""
        return {tenant: split for tenant, (split, _) in self._moves().items()}

    def apply(self, tenant: str, split: Split) -> None:
        """Puts the split in force and keeps it over a restart. Raises Refused without the lock, Unreachable."""
        if self._lock is None:
            raise Refused("This process only reads the load balancer: the watchdog alone changes weights.")
        moves = self._moves()
        if not split.target:
            self._set_home(checked(tenant), split.home)
            if moves.pop(tenant, None):
                self._say(f"del map {self._maps / MOVES_MAP} {tenant}")
        else:
            slot = moves[tenant][1] if tenant in moves else _free_slot(slot for _, slot in moves.values())
            moves[checked(tenant)] = (split, slot)
            self._put(MOVES_MAP, tenant, _value(split, slot))
        self._keep(MOVES_MAP, {name: _value(each, slot) for name, (each, slot) in moves.items()})

    def cut(self, tenant: str, region: str = "") -> None:
        """Ends the moving tenant's requests under way; a tenant that isn't moving has none that could be told apart."""
        found = self._moves().get(checked(tenant))
        if found is None:
            return
        split, slot = found
        for each in (region,) if region else (split.home, split.target):
            self._say(f"shutdown sessions server {each}/{slot}")

    def counters(self) -> Mapping[tuple[str, str], Count]:
        """Counters of every moving tenant in both of its regions."""
        tenants = {slot: tenant for tenant, (_, slot) in self._moves().items()}
        found: dict[tuple[str, str], Count] = {}
        for row in csv.DictReader(io.StringIO(self._say("show stat -1 4 -1").lstrip("# "))):
            tenant = tenants.get(row["svname"])
            if tenant is not None:
                failed = sum(int(row[name] or 0) for name in ("hrsp_5xx", "econ", "eresp"))
                found[tenant, row["pxname"]] = Count(int(row["stot"] or 0), failed, int(row["scur"] or 0))
        return found

    def close(self) -> None:
        """Gives the lock back."""
        if self._lock is not None:
            self._lock.close()

    def _set_home(self, tenant: str, region: str) -> None:
        homes = self._homes()
        if homes.get(tenant, self._default) == region:
            return
        homes[tenant] = region
        self._put(HOME_MAP, tenant, region)
        self._keep(HOME_MAP, homes)

    def _moves(self) -> dict[str, tuple[Split, str]]:
        found = {}
        for tenant, value in self._entries(MOVES_MAP):
            home, target, share, slot = value.split(":")
            found[tenant] = (Split(home, target, int(share)), slot)
        return found

    def _homes(self) -> dict[str, str]:
        return dict(self._entries(HOME_MAP))

    def _entries(self, name: str) -> list[tuple[str, str]]:
        return _ENTRY.findall(self._say(f"show map {self._maps / name}"))

    def _put(self, name: str, key: str, value: str) -> None:
        path = self._maps / name
        if self._say(f"set map {path} {key} {value}"):
            refused = self._say(f"add map {path} {key} {value}")
            if refused:
                raise Refused(f"HAProxy did not take an entry of {name}: {refused}")

    def _keep(self, name: str, entries: Mapping[str, str]) -> None:
        """The map's file, replaced as a whole and on the disk when this returns."""
        path = self._maps / name
        new = path.with_suffix(".new")
        with new.open("w") as file:
            file.writelines(f"{key} {value}\n" for key, value in entries.items())
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(self._maps, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _say(self, command: str) -> str:
        """One command to the runtime socket; returns the answer without blank ends."""
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(_TIMEOUT_S)
                line.connect(self._socket_path)
                line.sendall(command.encode() + b"\n")
                answer = b"".join(iter(lambda: line.recv(65536), b"")).decode().strip()
        except OSError as failure:
            raise Unreachable(
                f"HAProxy's runtime socket doesn't answer ({failure.strerror or failure})."
            ) from None
        if answer.startswith(("Unknown map", "Unknown command", "No such server", "Permission denied")):
            raise Refused(f"HAProxy refused a command: {answer.splitlines()[0]}")
        return answer


def _value(split: Split, slot: str) -> str:
    return f"{split.home}:{split.target}:{split.share}:{slot}"


def _free_slot(taken: Iterator[str]) -> str:
    used = set(taken)
    for number in range(1, SLOTS + 1):
        if f"m{number}" not in used:
            return f"m{number}"
    raise Refused(f"{SLOTS} tenants move through this load balancer already; end one of the moves first.")


def _locked(path: Path) -> io.TextIOWrapper:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Refused(
            f"Another process may change weights here ({path}). Only one watchdog runs at a time."
        ) from None
    return file
