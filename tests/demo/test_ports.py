"""Stacks that choose their ports at the same time choose different ones, and their servers can listen on them."""

import socket
from pathlib import Path

import pytest

from demo.stack import ports
from demo.stack.ports import Ports


def test_two_that_choose_at_once_share_no_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of so few that by chance alone some would be the same."""
    monkeypatch.setattr(ports, "LOWEST", 20_000)
    monkeypatch.setattr(ports, "HIGHEST", 20_079)
    one, other = Ports(tmp_path / "one.json"), Ports(tmp_path / "other.json")
    chosen = [made.get(f"server-{number}") for number in range(15) for made in (one, other)]
    assert len(set(chosen)) == len(chosen)
    assert one.get("server-0") == chosen[0], "it is remembered"
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", chosen[0]))
        server.listen()
