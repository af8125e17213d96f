"""`manage.py tenant list|show|register|contact|environment`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compliance.access import ensure_groups, require
from compliance.actors import ENGINEER
from lifecycle import tenants
from lifecycle.management.nouns import Answer, NounCommand, Options, misuse, table
from lifecycle.management.people import acting_user, add_as
from lifecycle.models import Contact, Environment, Tenant


class Command(NounCommand):
    """Tenants, who speaks for them, and where their data lies. Engineers write, everybody reads."""

    help = "Tenants: list, show, register, contact, environment."

    def add_verbs(self) -> None:
        self.verb("list", self.list_, "every tenant")
        self.verb("show", self.show, "one tenant with its environments").add_argument("id", metavar="TENANT")
        register = self.verb("register", self.register, "add a tenant, or change what is said of it")
        register.add_argument("id", metavar="TENANT")
        register.add_argument("--name", required=True)
        register.add_argument("--region", required=True, help="its home region")
        register.add_argument("--kind", default="standard", help="type of tenant, for retention rules")
        register.add_argument("--tier", default="silver", choices=Tenant.Tier.values)
        add_as(register)
        contact = self.verb("contact", self.contact, "add a person who may speak for a tenant; sealed")
        contact.add_argument("id", metavar="TENANT")
        contact.add_argument("--role", required=True, choices=Contact.Role.values)
        contact.add_argument("--mail", required=True)
        contact.add_argument(
            "--public-key", metavar="FILE", help="Ed25519 public key (PEM) for signed requests"
        )
        add_as(contact)
        place = self.verb("environment", self.environment, "say where a tenant's data lies in a region")
        place.add_argument("id", metavar="TENANT")
        place.add_argument("--region", required=True)
        place.add_argument("--role", default="home", choices=Environment.Role.values)
        place.add_argument(
            "--places", required=True, metavar="FILE", help="JSON: {system: {setting: reference}}"
        )
        add_as(place)
        self.verb("roles", self.roles, "create the groups of roles with their permissions; after `migrate`")

    def list_(self, _options: Options) -> Answer:
        """Every tenant."""
        heads = ("id", "name", "kind", "tier", "status", "home_region")
        rows = list(Tenant.objects.values(*heads))
        return Answer(rows, table(heads, [[row[head] for head in heads] for row in rows]))

    def show(self, options: Options) -> dict[str, Any]:
        """One tenant; places are references, never secrets."""
        return _shown(Tenant.objects.get(pk=options["id"]))

    def register(self, options: Options) -> dict[str, Any]:
        """Adds or changes a tenant."""
        actor = acting_user(options)
        require(actor, ENGINEER)
        made = tenants.register(
            options["id"],
            actor=actor,
            name=options["name"],
            kind=options["kind"],
            tier=options["tier"],
            region=options["region"],
        )
        return _shown(made)

    def contact(self, options: Options) -> dict[str, Any]:
        """Adds a contact."""
        actor = acting_user(options)
        require(actor, ENGINEER)
        pem = Path(options["public_key"]).read_text() if options["public_key"] else ""
        tenant = Tenant.objects.get(pk=options["id"])
        made = tenants.add_contact(
            tenant, actor=actor, role=options["role"], mail=options["mail"], public_key=pem
        )
        return {"tenant": tenant.pk, "role": made.role}

    def environment(self, options: Options) -> dict[str, Any]:
        """Adds or changes an environment."""
        actor = acting_user(options)
        require(actor, ENGINEER)
        try:
            places = json.loads(Path(options["places"]).read_text())
        except (OSError, ValueError):
            raise misuse(f"{options['places']} can't be read as JSON.") from None
        tenant = Tenant.objects.get(pk=options["id"])
        tenants.add_environment(
            tenant, actor=actor, region=options["region"], places=places, role=options["role"]
        )
        return _shown(tenant)

    def roles(self, _options: Options) -> Answer:
        """Groups of roles."""
        ensure_groups()
        return Answer({"roles": "ready"}, ["The roles are ready."])


def _shown(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.pk,
        "name": tenant.name,
        "kind": tenant.kind,
        "tier": tenant.tier,
        "status": tenant.status,
        "home_region": tenant.home_region,
        "environments": [
            {
                "id": each.pk,
                "region": each.region,
                "role": each.role,
                "places": each.places,
                "gone": each.gone_at is not None,
            }
            for each in tenant.environments.all()
        ],
    }
