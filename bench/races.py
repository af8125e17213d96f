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
    """One system: how a set is made, how large it is at scale 1, who else removes it, and the goals of the ratios."""

    system: str
    fill: Fill
    number: int
    peers: dict[str, Peer]
    unverified: float
    verified: float

    def measure(self, name: str, peer: str) -> str:
        """How a result is called; beside a second peer it says so."""
        first = next(iter(self.peers))
        return f"{self.system} {name}" + ("" if peer == first else f", {peer.partition(',')[0]}")


RACES = (
    Race("postgresql", sets.rows, 100_000, {"psql -c DELETE": peers.psql}, 0.7, 0.4),
    Race(
        "redis", sets.keys, 50_000,
        {"redis-cli --scan, UNLINK": peers.redis_scan, "redis-cli KEYS, UNLINK": peers.redis_keys}, 0.7, 0.4,
    ),
    Race("pinecone", sets.vectors, 50_000, {"SDK in a plain loop": peers.pinecone_sdk}, 0.7, 0.4),
    Race("s3", sets.objects, 4_000, {"s5cmd rm --all-versions": peers.s5cmd}, 0.5, 0.3),
)  # fmt: skip


def run(
    race: Race, place: dict[str, Any], scale: float, rounds: int, say: Callable[[str], None]
) -> list[Result]:
    """Ours, then each peer, again and again; the medians as records per second, without and with the verifier."""
    number = max(100, int(race.number * scale))
    our_times: list[ours.Times] = []
    peer_times: dict[str, list[float]] = {name: [] for name in race.peers}
    for _ in range(rounds):
        tenant = f"b{secrets.token_hex(5)}"
        number = race.fill(place, tenant, number)
        our_times.append(ours.race(race.system, ours.prepare(race.system, tenant), number))
        for name, peer in race.peers.items():
            rival = f"p{secrets.token_hex(5)}"
            race.fill(place, rival, number)
            began = time.perf_counter()
            peer(place, rival)
            peer_times[name].append(time.perf_counter() - began)
    rivals = {name: median(times) for name, times in peer_times.items()}
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in rivals.items())
    say(f"{race.system}, {number} records: {_parts(our_times)}; {told}")
    took = [median(getattr(each, name) for each in our_times) for name in ("unverified", "verified")]
    return [
        Result.of(race.measure(name, peer_name), number / ours_took, number / seconds, peer_name, goal)
        for peer_name, seconds in rivals.items()
        for name, ours_took, goal in zip(
            ("unverified", "verified"), took, (race.unverified, race.verified), strict=True
        )
    ]


def _parts(times: list[ours.Times]) -> str:
    return ", ".join(
        f"{name} {median(getattr(each, name) for each in times):.2f} s"
        for name in ("discover", "erase", "remaining", "search")
    )
