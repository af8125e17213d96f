"""What providers would expire by themselves stops while a hold stands, and goes on with the last one's release."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from compliance.keystore import default as keystore
from compliance.models import LegalHold
from compliance.sealing import seal_json, unseal_json
from lifecycle import places, tenants
from lifecycle.engine.outcomes import Done, Outcome
from lifecycle.engine.workflow import Context
from lifecycle.models import Environment, Suspended
from lifecycle.preservation import scopes
from lifecycle.preservation.locking import alone
from lifecycle.systems import registry
from lifecycle.systems.expiry import Expirer


def suspend(context: Context) -> Outcome:
    """One system's rules (the step's lane) in every environment; the row that remembers one is committed first."""
    hold = LegalHold.objects.get(pk=context.run.subject)
    system, count = context.step.lane.removeprefix("expiry_"), 0
    if not _covered(hold, system):
        return Done({"suspended": 0})
    scope = scopes.of(hold)
    for environment, adapter in _adapters(hold, system):
        with alone(adapter.address()):
            hold.refresh_from_db()
            if hold.state not in LegalHold.BLOCKING:
                return Done({"suspended": count})
            stopped = []
            for rule in adapter.found(scope):
                key_hash = _hash(adapter, rule.name)
                days = rule.days if rule.on else _remembered(key_hash)
                if not rule.on and not _others(hold, key_hash):
                    continue  # its owner switched it off
                _remember(hold, environment, system, key_hash, {"name": rule.name, "days": days})
                stopped.append(rule.name)
            adapter.suspend(stopped)
        count += len(stopped)
        context.heartbeat()
    return Done({"suspended": count})


def restore(context: Context) -> Outcome:
    """Rules that no other hold needs stopped work again as they did."""
    hold = LegalHold.objects.get(pk=context.run.subject)
    system = context.step.lane.removeprefix("expiry_")
    restored = 0
    for environment, adapter in _adapters(hold, system):
        with alone(adapter.address()):
            own = Suspended.objects.filter(hold=hold, environment=environment, system=system)
            freed = [_read(each) for each in own if not _others(hold, each.key_hash)]
            adapter.restore({each["name"]: each["days"] for each in freed})
            own.delete()
        restored += len(freed)
        context.heartbeat()
    return Done({"restored": restored})


def counts(hold: LegalHold) -> dict[str, int]:
    """How many rules of each system this hold has stopped, under the names that people read."""
    names = {"s3": "s3_lifecycle_rules", "cloudwatch": "cloudwatch_retention"}
    found = {
        name: Suspended.objects.filter(hold=hold, system=system).count() for system, name in names.items()
    }
    return {name: count for name, count in found.items() if count}


def _covered(hold: LegalHold, system: str) -> bool:
    datamap = tenants.current_map()
    known = {
        "s3": {each.category for each in datamap.objects.prefixes},
        "cloudwatch": {datamap.logs.category},
    }
    return not hold.category or hold.category in known[system]


def _adapters(hold: LegalHold, system: str) -> Iterator[tuple[Environment, Expirer]]:
    for environment in places.environments(hold.tenant_id):
        if system in environment.places:
            with closing(
                registry.expirer(system, places.place(environment, system), tenants.current_map())
            ) as adapter:
                yield environment, adapter


def _others(hold: LegalHold, key_hash: str) -> bool:
    return (
        Suspended.objects.filter(key_hash=key_hash, hold__state__in=LegalHold.BLOCKING)
        .exclude(hold=hold)
        .exists()
    )


def _remembered(key_hash: str) -> int | None:
    """What the hold that stopped the rule first knows of it."""
    for each in Suspended.objects.filter(key_hash=key_hash):
        days: int | None = _read(each)["days"]
        if days is not None:
            return days
    return None


def _remember(
    hold: LegalHold, environment: Environment, system: str, key_hash: str, said: dict[str, Any]
) -> None:
    key = keystore().get_or_create(f"hold/{hold.pk}")
    Suspended.objects.get_or_create(
        hold=hold,
        key_hash=key_hash,
        defaults={
            "environment": environment,
            "system": system,
            "sealed": seal_json(key, said, f"suspended/{hold.pk}"),
        },
    )


def _read(row: Suspended) -> dict[str, Any]:
    key = keystore().get(f"hold/{row.hold_id}")
    said: dict[str, Any] = unseal_json(key, bytes(row.sealed), f"suspended/{row.hold_id}")
    return said


def _hash(adapter: Expirer, name: str) -> str:
    return hashlib.sha256(f"{adapter.address()}\0{name}".encode()).hexdigest()
