"""Where one stack lives: its folder, the ports and secrets it remembers."""

import json
import os
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.stack.ports import Ports

CHECKOUT = Path(__file__).resolve().parents[2]
REGIONS = ("us-east-1", "us-west-2")


def write_private(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as JSON, atomically and with mode 0600, so that no reader ever sees half a file."""
    new = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
    new.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`, or an empty one where there is no such file."""
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return value


class Secrets:
    """Passwords and keys of one stack, made once and remembered in `secrets.json` (mode 0600)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, str] = read_json(path)

    def get(self, name: str) -> str:
        """Return the secret called `name`, making it if it is new."""
        with self._lock:
            if name not in self._known:
                self._known[name] = secrets.token_hex(16)
                write_private(self._path, self._known)
            return self._known[name]


@dataclass(frozen=True)
class Place:
    """The folder of one stack (`LIFECYCLE_RUN_DIR`) with what is remembered in it."""

    root: Path
    ports: Ports = field(repr=False)
    secrets: Secrets = field(repr=False)

    @classmethod
    def at(cls, root: Path) -> "Place":
        """Open (and make) the stack folder `root`; only its owner may look inside."""
        root = root.resolve()
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        for name in ("data", "log", "mail", "keystore", "held"):
            (root / name).mkdir(exist_ok=True, mode=0o700)
        return cls(root, Ports(root / "ports.json"), Secrets(root / "secrets.json"))

    def data(self, name: str) -> Path:
        """Return the data folder of the server called `name`, made if it is new."""
        folder = self.root / "data" / name
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def log(self, name: str) -> Path:
        """Return the file that takes what the server called `name` prints."""
        return self.root / "log" / f"{name}.log"

    def access_log(self, name: str) -> Path:
        """Return the file of JSON lines, one a request, that the S3 server called `name` answered."""
        return self.root / "log" / f"{name}.access.jsonl"


def run_dir() -> Path:
    """Return the stack folder that the environment names, `.run` in the checkout by default."""
    return Path(os.environ.get("LIFECYCLE_RUN_DIR") or CHECKOUT / ".run").resolve()
