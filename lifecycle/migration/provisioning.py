"""Which tool makes green, and what it is told."""

from __future__ import annotations

import json
from pathlib import Path

from django.conf import settings

from lifecycle.migration import movers
from lifecycle.models import Environment, Migration
from lifecycle.provision import terraform
from lifecycle.provision.base import Places, Provisioner, Wanted
from lifecycle.provision.static import Static
from lifecycle.secrets import resolve
from lifecycle.systems.base import Permanent


def tool(name: str = "") -> Provisioner:
    """The provisioner of this name (`terraform`, `tofu`, `static`); by default what the settings and machine have."""
    name = name or settings.PROVISIONER
    binary = terraform.program()
    if name == "static" or (not name and (binary is None or not settings.TERRAFORM_MODULE)):
        return Static()
    if binary is None or not settings.TERRAFORM_MODULE:
        raise Permanent(
            "This machine has no terraform or tofu, or no module is named in TERRAFORM_MODULE. Set PROVISIONER=static to "
            "use the region's shared servers."
        )
    module = Path(settings.TERRAFORM_MODULE)
    variables = terraform.local_variables() if settings.LOCAL_STACK else {}
    return terraform.Terraform(binary, module, Path(settings.RUN_DIR) / "terraform", variables)


def region_places(region: str) -> Places:
    """Where the shared servers of a region are, as references. Raises Permanent where nobody said so."""
    path = Path(settings.REGION_PLACES)
    try:
        known: dict[str, Places] = json.loads(path.read_text())
    except FileNotFoundError:
        raise Permanent(
            f"Nobody said where the regions' servers are: the file {path.name} (setting REGION_PLACES) is missing."
        ) from None
    if region not in known:
        raise Permanent(f"No region is called {region!r}. Known regions: {', '.join(sorted(known))}.")
    return known[region]


def wanted(migration: Migration) -> Wanted:
    """What green of this migration is made for, as it was planned."""
    return Wanted(
        movers.move_id(migration),
        migration.tenant_id,
        migration.target_region,
        migration.plan.get("places", {}),
    )


def secrets(places: Places) -> Places:
    """The same places with every reference resolved, for the tool's own process only."""
    return {
        system: {name: resolve(str(value)) for name, value in place.items()}
        for system, place in places.items()
    }


def green(migration: Migration, places: Places) -> Environment:
    """The environment row of green. An earlier one of the same name is taken up again."""
    found, _ = Environment.objects.update_or_create(
        id=f"{migration.tenant_id}@{migration.target_region}#{movers.move_id(migration)}",
        defaults={
            "tenant": migration.tenant,
            "region": migration.target_region,
            "role": Environment.Role.GREEN,
            "places": {system: dict(place) for system, place in places.items()},
            "gone_at": None,
        },
    )
    return found
