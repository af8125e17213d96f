"""Splits on a real HAProxy: shares, neighbours, speed, restart, sessions, and who may change them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle.traffic.base import Refused, Split, Unreachable
from lifecycle.traffic.configuration import SLOTS
from lifecycle.traffic.haproxy import HAProxy
from tests.lifecycle.traffic.edge import BLUE, GREEN, Edge, running

USERS = [f"user-{number}" for number in range(400)]


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("edge")) as made:
        yield made


@pytest.fixture
def traffic(edge: Edge) -> Iterator[HAProxy]:
    made = edge.traffic
    yield made
    for tenant in [tenant for tenant, _region in made.counters()]:
        made.apply(tenant, Split(BLUE))
    made.close()


def eventually(holds: object, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    assert callable(holds)
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_only_one_process_changes_weights(edge: Edge, traffic: HAProxy) -> None:
    with pytest.raises(Refused, match="Only one watchdog"):
        _ = edge.traffic
    reader = HAProxy(socket_path=str(edge.folder / "s"), maps=edge.folder / "maps", default=BLUE)
    with pytest.raises(Refused, match="watchdog alone"):
        reader.apply("17", Split(BLUE, GREEN, 10))
    assert traffic.read("17") == Split(BLUE)


@pytest.mark.parametrize("tenant", ["", "17 100", "17;show map", "17\nshutdown", "x" * 65])
def test_names_that_could_be_commands_are_refused(traffic: HAProxy, tenant: str) -> None:
    with pytest.raises(Refused, match="1 to 64 letters"):
        traffic.apply(tenant, Split(BLUE, GREEN, 100))


def test_impossible_splits_are_refused() -> None:
    for home, target, share in ((BLUE, GREEN, 101), (BLUE, GREEN, -1), (BLUE, "", 5), ("a b", "", 0)):
        with pytest.raises(Refused):
            Split(home, target, share)


def test_a_silent_socket_is_said(tmp_path: Path) -> None:
    gone = HAProxy(socket_path=str(tmp_path / "none"), maps=tmp_path, default=BLUE)
    with pytest.raises(Unreachable, match="runtime socket"):
        gone.read("17")


def test_more_moves_than_slots_are_refused(traffic: HAProxy) -> None:
    for number in range(SLOTS):
        traffic.apply(f"t{number}", Split(BLUE, GREEN, 1))
    with pytest.raises(Refused, match="64 tenants move"):
        traffic.apply("one-more", Split(BLUE, GREEN, 1))


def test_shares_follow_and_users_only_move_forward(edge: Edge, traffic: HAProxy) -> None:
    before: set[str] = set()
    for share, least, most in ((10, 20, 60), (25, 70, 130), (50, 170, 230), (75, 270, 330), (100, 400, 400)):
        traffic.apply("17", Split(BLUE, GREEN, share))
        assert traffic.read("17") == Split(BLUE, GREEN, share)
        on_green = edge.users_in("17", USERS, GREEN)
        assert least <= len(on_green) <= most
        assert before <= on_green, "a user went back while the share rose"
        before = on_green
        assert len(edge.users_in("18", USERS, BLUE)) == 400, "another tenant was touched"
    traffic.apply("17", Split(BLUE, GREEN, 0))
    assert len(edge.users_in("17", USERS, BLUE)) == 400


def test_a_change_takes_less_than_5_ms_among_10_000_tenants(edge: Edge, traffic: HAProxy) -> None:
    for number in range(10_000):
        traffic._say(f"add map {edge.folder / 'maps' / 'home.map'} n{number} {GREEN}")
    traffic.apply("17", Split(BLUE, GREEN, 10))
    spent = []
    for turn in range(41):
        began = time.perf_counter()
        # What puts it in force; `apply` then also waits for the disk, which others use too.
        traffic._put("moves.map", "17", f"{BLUE}:{GREEN}:{turn}:m1")
        spent.append(time.perf_counter() - began)
    assert sorted(spent)[10] < 0.005
    assert traffic.read("17").share == 40
    assert edge.ask("n9999", "u")[1] == GREEN
    for number in range(10_000):
        traffic._say(f"del map {edge.folder / 'maps' / 'home.map'} n{number}")


def test_a_restart_keeps_splits_and_new_homes(edge: Edge, traffic: HAProxy) -> None:
    traffic.apply("17", Split(BLUE, GREEN, 100))
    traffic.apply("19", Split(BLUE, GREEN, 100))
    traffic.apply("19", Split(GREEN))
    edge.restart()
    assert traffic.read("17") == Split(BLUE, GREEN, 100)
    assert traffic.read("19") == Split(GREEN)
    eventually(lambda: edge.ask("17", "u") == (200, GREEN))
    assert edge.ask("19", "u") == (200, GREEN)
    traffic.apply("19", Split(BLUE))


def test_what_is_under_way_ends_and_what_comes_next_goes_home(edge: Edge, traffic: HAProxy) -> None:
    traffic.apply("17", Split(BLUE, GREEN, 100))
    answers: list[tuple[int, str]] = []
    stream = threading.Thread(target=lambda: answers.append(edge.ask("17", "u", "/stream")))
    stream.start()
    eventually(lambda: edge.regions[GREEN].streams == 1)
    traffic.apply("17", Split(BLUE, GREEN, 0))
    assert edge.ask("17", "u") == (200, BLUE)
    stream.join()
    assert answers == [(200, "." * 20)]


def test_cut_ends_one_tenants_sessions_only(edge: Edge, traffic: HAProxy) -> None:
    traffic.apply("17", Split(BLUE, GREEN, 100))
    traffic.apply("18", Split(BLUE, GREEN, 100))
    ended: dict[str, str] = {}

    def stream(tenant: str) -> None:
        try:
            ended[tenant] = "whole" if edge.ask(tenant, "u", "/stream")[1] == "." * 20 else "cut"
        except Exception:
            ended[tenant] = "cut"

    threads = [threading.Thread(target=stream, args=(tenant,)) for tenant in ("17", "18")]
    for each in threads:
        each.start()
    eventually(lambda: edge.regions[GREEN].streams == 2)
    assert traffic.counters()["17", GREEN].open == 1
    traffic.cut("17", GREEN)
    for each in threads:
        each.join()
    assert ended == {"17": "cut", "18": "whole"}


def test_a_write_is_never_sent_twice(edge: Edge, traffic: HAProxy) -> None:
    traffic.apply("17", Split(BLUE, GREEN, 100))
    posts = edge.regions[GREEN].posts
    assert edge.ask("17", "u", method="POST")[0] in (502, 503)
    assert edge.regions[GREEN].posts == posts + 1


def test_readers_of_a_dead_green_are_served_at_home(edge: Edge, traffic: HAProxy) -> None:
    traffic.apply("17", Split(BLUE, GREEN, 100))
    sick = edge.regions[GREEN]
    sick.hangs = True
    try:
        eventually(lambda: edge.ask("17", "u") == (200, BLUE), 8.0)
    finally:
        sick.hangs = False
        sick.silent.set()
    eventually(lambda: edge.ask("17", "u") == (200, GREEN), 8.0)


def test_counters_are_of_moving_tenants(edge: Edge, traffic: HAProxy) -> None:
    traffic.apply("17", Split(BLUE, GREEN, 100))
    before = traffic.counters()["17", GREEN]
    edge.regions[GREEN].status = 500
    try:
        for _ in range(3):
            edge.ask("17", "u")
    finally:
        edge.regions[GREEN].status = 200
    edge.ask("18", "u")
    after = traffic.counters()["17", GREEN]
    assert (after.requests - before.requests, after.failed - before.failed) == (3, 3)
    assert ("18", GREEN) not in traffic.counters()
