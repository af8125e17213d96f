"""The S3 adapter on a second real server: the same suite that runs on SeaweedFS, on Ceph's RADOS Gateway.

Ceph lists exactly and in byte order and knows every version of a key, as AWS does: what its answers show is the
truth about the adapter, where SeaweedFS leaves entries out of its listings.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.stack import ceph
from demo.stack.place import CHECKOUT
from demo.stack.process import Identity, is_alive

SUITE = "tests/lifecycle/systems/s3"


def told(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in the checkout, run to its end."""
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )


def installed() -> None:
    """Ceph's programs, installed first where root runs the test."""
    parts = told("bin/debian-parts", "ceph")
    assert parts.returncode == 0, parts.stderr
    missing = [program for program in ceph.PROGRAMS if shutil.which(program) is None]
    assert not missing, f"This trial needs {', '.join(missing)}: as root, run `bin/debian-parts ceph` once."


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """Ceph up in `folder`; its place.json. All of it ends with the block."""
    try:
        up = told(sys.executable, "-m", "demo.stack.ceph", "up", str(folder))
        assert up.returncode == 0, up.stderr
        yield Path(up.stdout.strip())
    finally:
        told(sys.executable, "-m", "demo.stack.ceph", "down", str(folder))


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_the_s3_suite_passes_on_ceph_and_nothing_outlives_it(tmp_path: Path) -> None:
    installed()
    with running(tmp_path / "ceph") as place:
        noted = json.loads((place.parent / "processes.json").read_text())
        servers = [Identity(*each) for each in noted.values()]
        assert len(servers) == 3
        assert all(map(is_alive, servers))

        # Stopping and waking the server is a matter of the stack's own one.
        suite = told(
            *(sys.executable, "-m", "pytest", SUITE, "--ignore", f"{SUITE}/test_stopped_server.py"),
            *("--timeout", "300"),
            TRIAL_S3_PLACE=str(place),
        )
        assert suite.returncode == 0, suite.stdout[-6000:] + suite.stderr[-2000:]
        written = (place.parent / "log" / "radosgw.log").read_text(errors="replace")
        assert written.count("POST /trial-") > 20, "the suite's deletions did not come to Ceph"

    assert not any(map(is_alive, servers))
    assert not place.exists()
