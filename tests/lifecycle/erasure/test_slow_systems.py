"""A system so slow that a slice ends in the middle of a chunk: the next goes on there, and no item is sent twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
import redis

from lifecycle.engine.leases import Lease
from lifecycle.engine.outcomes import Done
from lifecycle.engine.workflow import Context
from lifecycle.erasure import cases
from lifecycle.erasure.steps import discover, erase
from lifecycle.models import ManifestChunk, Run, Step
from lifecycle.systems.base import Gate, Item, Scope, Tally
from lifecycle.systems.redis.eraser import RedisEraser
from tests.lifecycle.erasure.world import World

KEYS, BATCH = 40, 8


class OneBatch(Context):
    """A slice that is over after its first batch."""

    def __init__(self, request_id: str, sent: list[str]) -> None:
        run = Run(workflow=cases.WORKFLOW, subject=request_id)
        super().__init__(run, Step(run=run, name="erase", lane="redis"), cast(Lease, None), lambda _run: None)
        self._sent, self._before = sent, len(sent)

    def time_left(self) -> float:
        """None, once a batch was sent."""
        return 0.0 if len(self._sent) > self._before else 25.0

    def heartbeat(self) -> None:
        """Nobody waits for it."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were sent to be erased, in their order; eight a batch."""
    keys: list[str] = []
    erases = RedisEraser.erase

    def noted(self: RedisEraser, scope: Scope, items: Sequence[Item], gate: Gate) -> Tally:
        keys.extend(item.key for item in items)
        return erases(self, scope, items, gate)

    monkeypatch.setattr(RedisEraser, "erase", noted)
    monkeypatch.setattr(RedisEraser, "batch", BATCH)
    return keys


def _left(client: Any, tenant: str) -> int:
    return sum(1 for _ in client.scan_iter(match=f"query_cache:{tenant}:slow-*", count=10_000))


def test_a_slice_goes_on_where_the_last_one_ended(world: World, sent: list[str]) -> None:
    customer = world.tenant("ada")
    client = redis.Redis.from_url(world.stack["regions"]["us-east-1"]["redis"])
    client.mset({f"query_cache:{customer.id}:slow-{n}": '{"user_id": "ada"}' for n in range(KEYS)})
    request = world.request(customer)
    cases.open_case(request)
    assert isinstance(discover.run(OneBatch(request.pk, sent)), Done)
    assert _left(client, customer.id) == KEYS

    places: list[int] = []
    while not isinstance(erase.run(OneBatch(request.pk, sent)), Done):
        chunks = ManifestChunk.objects.filter(line__case__request=request, line__system="redis")
        places.append(sum(chunks.values_list("taken", flat=True)))
        assert len(places) < 50, "the slices never end"
    assert _left(client, customer.id) == 0
    assert len(sent) == len(set(sent)) >= KEYS
    assert places == sorted(places)
    assert len(set(places)) >= KEYS // BATCH
    client.close()
