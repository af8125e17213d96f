"""`manage.py datamap check|publish|show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lifecycle import tenants
from lifecycle.management.nouns import Answer, NounCommand, Options
from lifecycle.management.people import acting_user, add_as
from lifecycle.models import DataMapVersion, Tenant


class Command(NounCommand):
    """The data map: where tenant and user data lies."""

    help = "The data map: check, publish, show."

    def add_verbs(self) -> None:
        check = self.verb(
            "check", self.check_map, "name what lies in the live systems and nobody has classified"
        )
        check.add_argument("--tenant", help="only this tenant's environments")
        publish = self.verb("publish", self.publish, "put a new version in force")
        publish.add_argument("file", metavar="FILE")
        add_as(publish)
        self.verb("show", self.show, "the version in force")

    def check_map(self, options: Options) -> Answer:
        """Exit code 1 while something is unclassified."""
        datamap = tenants.current_map()
        wanted = Tenant.objects.filter(pk=options["tenant"]) if options["tenant"] else Tenant.objects.all()
        found: list[str] = []
        seen: set[str] = set()
        for tenant in wanted:
            places = str(sorted(str(each.places) for each in tenant.environments.filter(gone_at=None)))
            if places not in seen or options["tenant"]:
                seen.add(places)
                found += tenants.drift(tenant, datamap)
        found = sorted(set(found))
        return Answer(
            {"version": datamap.version, "unclassified": found},
            found or ["Everything is classified."],
            code=1 if found else 0,
        )

    def publish(self, options: Options) -> dict[str, Any]:
        """Publishes a file."""
        row = tenants.publish_map(Path(options["file"]).read_text(), actor=acting_user(options))
        return {"version": row.version, "digest": row.digest}

    def show(self, options: Options) -> Answer:
        """The text in force."""
        row = DataMapVersion.objects.first()
        if row is None:
            tenants.current_map()
            return Answer(None)
        return Answer({"version": row.version, "digest": row.digest, "text": row.text}, row.text.splitlines())
