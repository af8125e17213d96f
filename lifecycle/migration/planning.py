"""A plan: what stands in the way, how much there is, how long it will take, what would be made. Changes nothing outside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lifecycle.migration import fencing, movers, provisioning
from lifecycle.models import Environment, Migration, Tenant
from lifecycle.provision.base import Wanted
from lifecycle.systems.base import Permanent

# Items a second, as measured on two cores (docs/benchmarks.md): only for a first estimate; each step shows its own pace.
_RATES = {"postgresql": 60_000, "s3": 150, "pinecone": 1_500, "redis": 100}
_SHOWN = {"postgresql": "rows", "s3": "objects", "pinecone": "vectors", "redis": "keys"}


def home(tenant: Tenant) -> Environment:
    """The tenant's home. Raises Permanent where it has none."""
    found = Environment.objects.filter(
        tenant=tenant, role=Environment.Role.HOME, gone_at=None, region=tenant.home_region
    ).first()
    if found is None:
        raise Permanent(f"Tenant {tenant.pk} has no home environment in {tenant.home_region}. Register one.")
    return found


def draft(migration: Migration, source: Environment, region: str) -> dict[str, Any]:
    """Everything an approver reads, and what the move is bound to. `migration` need not be saved."""
    places = provisioning.region_places(region)
    target = Environment(
        id=f"{migration.tenant_id}@{region}", tenant=migration.tenant, region=region, places=places
    )
    findings, sizes, prints = _ask_movers(migration, source, target)
    proposal = provisioning.tool().propose(
        Wanted(movers.move_id(migration), migration.tenant_id, region, places)
    )
    findings += [
        {"system": "holds", "refuses": False, "sentence": each} for each in fencing.holds(migration.tenant_id)
    ]
    return {
        "findings": findings,
        "sizes": sizes,
        "eta_seconds": _eta(sizes, migration.settings),
        "systems": movers.systems(source, target),
        "stays": sorted(set(source.places) - set(movers.systems(source, target)) - {movers.APPLICATION}),
        "provision": proposal.shown(),
        "fingerprints": prints,
        "places": places,
        "tier": migration.tenant.tier,
        "soak": migration.soak,
        "settings": migration.settings,
        "override_reason": migration.override_reason,
    }


def refusals(plan: Mapping[str, Any]) -> list[str]:
    """The findings that forbid the move."""
    return [str(each["sentence"]) for each in plan["findings"] if each["refuses"]]


def digest(plan: Mapping[str, Any]) -> str:
    """What an approver binds to."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def _ask_movers(
    migration: Migration, source: Environment, target: Environment
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]], dict[str, str]]:
    findings: list[dict[str, Any]] = []
    sizes: dict[str, dict[str, Any]] = {}
    prints: dict[str, str] = {}
    name, tenant = movers.move_id(migration), migration.tenant_id
    for system in movers.systems(source, target):
        with movers.between(name, tenant, source, target, system) as mover:
            found = mover.plan()
            findings += [
                {"system": system, "refuses": each.refuses, "sentence": each.sentence} for each in found
            ]
            # What refuses may be the very thing that counting needs (a tenant column).
            if not any(each.refuses for each in found):
                sizes[system] = {**mover.size(), "unit": _SHOWN[system]}
            if system == "postgresql":
                prints = dict(mover.fingerprints())
    return findings, sizes, prints


def _eta(sizes: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, int]:
    copying = max((size["items"] / _RATES[system] for system, size in sizes.items()), default=0)
    cutover = float(settings["step_seconds"]) * len(settings["steps"])
    return {
        "copy": round(copying) + 5,
        "verify": round(copying) + 5,
        "cutover": round(cutover),
        "soak": round(float(settings["soak_seconds"])),
    }
