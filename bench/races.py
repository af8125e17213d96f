"""Pairs of ours and a peer, in turn, on sets of the same shape on the same server."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench import ours, peers, sets
from bench.report import Result

Fill = Callable[[dict[str, Any], str, int], int]
Peer = Callable[[dict[str, Any], str], None]


@dataclass(frozen=True, slots=True)
class Race:
    """One system: how a set is made, how large it is at scale 1, who else removes it, and the goals of the ratio."""

    system: str
    fill: Fill
    number: int
    peer: Peer
    peer_name: str
    unverified: float
    verified: float


RACES = (
    Race("postgresql", sets.rows, 100_000, peers.psql, "psql -c DELETE", 0.7, 0.4),
    Race("redis", sets.keys, 50_000, peers.redis_cli, "redis-cli --pipe UNLINK", 0.7, 0.4),
    Race("pinecone", sets.vectors, 10_000, peers.pinecone_sdk, "SDK in a plain loop", 0.7, 0.4),
    Race("s3", sets.objects, 4_000, peers.s5cmd, "s5cmd rm --all-versions", 0.5, 0.3),
)


def run(
    race: Race, place: dict[str, Any], scale: float, rounds: int, say: Callable[[str], None]
) -> list[Result]:
    """Ours, peer, ours, peer ...; the medians as records per second, without and with the verifier."""
    number = max(100, int(race.number * scale))
    our_times: list[ours.Times] = []
    peer_times: list[float] = []
    for _ in range(rounds):
        tenant = f"b{secrets.token_hex(5)}"
        number = race.fill(place, tenant, number)
        our_times.append(ours.race(race.system, ours.prepare(race.system, tenant), number))
        rival = f"p{secrets.token_hex(5)}"
        race.fill(place, rival, number)
        began = time.perf_counter()
        race.peer(place, rival)
        peer_times.append(time.perf_counter() - began)
    say(f"{race.system}, {number} records: " + _parts(our_times) + f"; peer {median(peer_times):.2f} s")
    peer = number / median(peer_times)
    return [
        Result.of(f"{race.system} unverified", number / median(t.unverified for t in our_times), peer, race.peer_name, race.unverified),
        Result.of(f"{race.system} verified", number / median(t.verified for t in our_times), peer, race.peer_name, race.verified),
    ]  # fmt: skip


def _parts(times: list[ours.Times]) -> str:
    return ", ".join(
        f"{name} {median(getattr(each, name) for each in times):.2f} s"
        for name in ("discover", "erase", "remaining", "search")
    )
