"""Many small tenants and their moves, in one process: a command for each would cost a second of a processor each time.

`python -m tests.lifecycle.trials.moves.many begin NUMBER` seeds, plans and starts; `move TENANT ...` plans and starts;
`complete MOVE ...` is the second person's word; `cancel MOVE ...`; `discard MOVE ...`; `throttle TENANT PACE`. Prints JSON.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from typing import Any

import django

OWN = {
    "steps": [50, 100],
    "step_seconds": 3.0,
    "soak_seconds": 5.0,
    "hold_seconds": 300.0,
    "prometheus": False,
    # Two cores carry all servers of both regions: a probe waits now and then although nothing is ill.
    "gates": {"failures": 6, "floor_ms": 2000.0},
}


def begin(number: int) -> list[dict[str, str]]:
    """Seeds all, then plans all, then starts all: the first has not gone far when the last one comes."""
    from django.conf import settings

    from demo.platform import own_rows
    from demo.platform.cast import EAST, Customer
    from demo.platform.seed import everything

    tag = f"f{secrets.token_hex(3)}"
    customers = [Customer(f"{tag}-{each}", f"Small {each}", EAST, users=("ada",)) for each in range(number)]
    for each in customers:
        own_rows.enrol(each)
    everything.seed(settings.STACK, customers)
    return move([each.id for each in customers])


def move(tenants: list[str]) -> list[dict[str, str]]:
    """Plans all, then starts all."""
    from demo.platform.cast import WEST
    from lifecycle.migration import actions

    ann = person("engineer")
    planned = [
        actions.plan(actor=ann, tenant_id=each, region=WEST, own=dict(OWN), soak="fast") for each in tenants
    ]
    started = [actions.start(each, actor=ann, digest=each.plan_digest) for each in planned]
    return [{"move": each.pk, "tenant": each.tenant_id} for each in started]


def decide(verb: str, moves: list[str]) -> list[str]:
    """`complete`, `cancel` or `discard`, by a second person."""
    from lifecycle.migration import actions
    from lifecycle.models import Migration

    ben = person("engineer2")
    for each in moves:
        getattr(actions, verb)(Migration.objects.get(pk=each), actor=ben)
    return moves


def throttle(tenant: str, pace: dict[str, dict[str, int]]) -> str:
    """The tenant's home says how fast it may be copied."""
    from lifecycle.models import Environment

    home = Environment.objects.get(tenant_id=tenant, role=Environment.Role.HOME, gone_at=None)
    for system, place in home.places.items():
        kept = {name: value for name, value in place.items() if not name.endswith("_per_second")}
        home.places[system] = kept | {name: str(value) for name, value in pace.get(system, {}).items()}
    home.save(update_fields=["places"])
    return home.pk


def person(name: str) -> Any:
    """An engineer at the command line."""
    from compliance.actors import Actor

    return Actor(name, frozenset({"engineer"}), None, "shell")


def main(words: list[str]) -> Any:
    """The command line."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    match words:
        case ["begin", number]:
            return begin(int(number))
        case ["move", *tenants]:
            return move(tenants)
        case ["throttle", tenant, pace]:
            return throttle(tenant, json.loads(pace))
        case [("complete" | "cancel" | "discard") as verb, *moves]:
            return decide(verb, moves)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
