"""The command line of a trial, each command in a fork of one process that has its imports done.

A command that starts Python and Django anew costs 0.8 s of a processor; a trial gives dozens. It starts sooner too, so
that it comes at the moment that was drawn. How commands start by themselves is tried in tests/lifecycle/management.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from functools import cache
from select import select

from demo.stack.place import CHECKOUT

_NUMBER = struct.Struct("!q")
_IMPORTED = ("erasure", "hold", "migration", "run", "certificate", "audit")


class Commands:
    """The process that forks. It ends with the tests, or when its socket closes."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._one = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip

    def run(self, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """One command, to its end. Raises subprocess.TimeoutExpired, after which it runs no more."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = self._code(words, out.fileno(), err.fileno(), timeout)
            texts = [os.pread(each.fileno(), 1 << 28, 0).decode() for each in (out, err)]
        return subprocess.CompletedProcess(words, code, *texts)

    def _code(self, words: tuple[str, ...], out: int, err: int, timeout: float) -> int:
        answer, told = os.pipe()
        try:
            with self._one:
                socket.send_fds(self._ours, [json.dumps(words).encode()], [out, err, told])
            os.close(told)
            pid = _said(answer, 60)
            assert pid, "the process that forks is gone"
            try:
                code = _said(answer, timeout)
                return -signal.SIGKILL if code is None else code
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout) from None
        finally:
            os.close(answer)


@cache
def of(environment: frozenset[tuple[str, str]]) -> Commands:
    """The commands of one environment, for all that ask alike."""
    return Commands(dict(environment))


def _said(answer: int, timeout: float) -> int | None:
    """What the command says next of itself: its process, then its exit code; None where it was killed."""
    ready, _, _ = select([answer], [], [], timeout)
    if not ready:
        raise TimeoutError
    number = os.read(answer, _NUMBER.size)
    return int(_NUMBER.unpack(number)[0]) if number else None


def _serve(asked: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    while True:
        question, handles, _, _ = socket.recv_fds(asked, 1 << 16, 3)
        if not question:
            return
        if os.fork() == 0:
            asked.close()
            _command(json.loads(question), *handles)
        for each in handles:
            os.close(each)


def _command(words: list[str], out: int, err: int, told: int) -> None:
    from django.core.management import execute_from_command_line

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.write(told, _NUMBER.pack(os.getpid()))
    os.dup2(out, 1)
    os.dup2(err, 2)
    code = 0
    try:
        execute_from_command_line(["manage.py", *words])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(told, _NUMBER.pack(code))
        os._exit(0)


def _main() -> None:
    import django
    from django.core.management import get_commands, load_command_class

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    for name in _IMPORTED:
        load_command_class(get_commands()[name], name)
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        _serve(asked)


if __name__ == "__main__":
    _main()
