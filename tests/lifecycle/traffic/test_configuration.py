"""The example in deploy/ is what the code renders, and a real HAProxy takes it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from demo.stack.place import CHECKOUT
from lifecycle.traffic.configuration import HOME_MAP, MOVES_MAP, Shape, render

HEAD = """\
# An example: two regions' applications behind one HAProxy 2.6 or later. The watchdog runs on the same machine, as the
# user that may use the runtime socket, with TRAFFIC_SOCKET, TRAFFIC_MAPS and TRAFFIC_LOG_UDP as below; nobody else writes
# the maps. Make both maps as empty files first.
"""
EXAMPLE = Shape(
    address=":8080",
    metrics="127.0.0.1:8404",
    socket=Path("/run/haproxy/lifecycle.sock"),
    maps=Path("/var/lib/haproxy/lifecycle"),
    log_udp=5140,
    apps={"us-east-1": "10.1.0.10:8000", "us-west-2": "10.2.0.10:8000"},
)


def test_the_example_is_what_the_code_renders() -> None:
    assert (CHECKOUT / "deploy" / "haproxy.cfg").read_text() == HEAD + render(EXAMPLE)


def test_haproxy_takes_it(tmp_path: Path) -> None:
    for name in (HOME_MAP, MOVES_MAP):
        (tmp_path / name).touch()
    (tmp_path / "haproxy.cfg").write_text(render(replace(EXAMPLE, socket=tmp_path / "s", maps=tmp_path)))
    program = shutil.which("haproxy")
    assert program is not None
    done = subprocess.run(
        [program, "-c", "-f", str(tmp_path / "haproxy.cfg")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
