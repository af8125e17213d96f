"""The command line in another process that has its imports done, so that a command starts at the moment that was drawn."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

from demo.stack.place import CHECKOUT
from tests.lifecycle.trials.live import Live

PATIENCE = 60.0  # seconds that a command may take
_LOOP = """
import json, os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
import django
from django.core.management import execute_from_command_line
django.setup()
print("ready", flush=True)
for line in sys.stdin:
    execute_from_command_line(["manage.py", *json.loads(line)])
    print("done", flush=True)
"""


class Preloaded:
    """A process for commands, one after another. A command that fails ends it."""

    def __init__(self, live: Live) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            cwd=CHECKOUT, env=live.env(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Preloaded:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_ready(self) -> None:
        """Returns once its imports are done."""
        self._read("ready")

    def ask(self, *words: str) -> Any:
        """One command that must succeed; its JSON document."""
        return json.loads(self.tell(*words, "--json"))

    def tell(self, *words: str) -> str:
        """One command that must succeed; what it printed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        end = threading.Timer(
            PATIENCE, self._process.kill
        )  # then reading ends, and says what the process said
        end.start()
        try:
            return self._read("done")
        finally:
            end.cancel()

    def _read(self, end: str) -> str:
        assert self._process.stdout is not None
        lines: list[str] = []
        while (line := self._process.stdout.readline()) != f"{end}\n":
            assert line, self._process.communicate()[1]
            lines.append(line)
        return "".join(lines[-1:] if end == "ready" else lines)
