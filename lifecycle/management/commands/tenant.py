"""`manage.py tenant list|show`."""

from __future__ import annotations

from typing import Any

from lifecycle.management.nouns import Answer, NounCommand, Options, table
from lifecycle.models import Tenant


class Command(NounCommand):
    """Tenants and where their data lies."""

    help = "Tenants: list, show."

    def add_verbs(self) -> None:
        self.verb("list", self.list_, "every tenant")
        self.verb("show", self.show, "one tenant with its environments").add_argument("id", metavar="TENANT")

    def list_(self, _options: Options) -> Answer:
        """Every tenant."""
        rows = [
            {
                "id": each.pk,
                "name": each.name,
                "kind": each.kind,
                "tier": each.tier,
                "status": each.status,
                "region": each.home_region,
            }
            for each in Tenant.objects.all()
        ]
        heads = ("id", "name", "kind", "tier", "status", "region")
        return Answer(rows, table(heads, [[row[head] for head in heads] for row in rows]))

    def show(self, options: Options) -> dict[str, Any]:
        """One tenant; places are references, never secrets."""
        tenant = Tenant.objects.get(pk=options["id"])
        return {
            "id": tenant.pk,
            "name": tenant.name,
            "kind": tenant.kind,
            "tier": tenant.tier,
            "status": tenant.status,
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
