"""`manage.py datamap check|publish|prepare|show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lifecycle import places, tenants
from lifecycle.management.nouns import Answer, NounCommand, Options
from lifecycle.management.people import acting_user, add_as
from lifecycle.models import DataMapVersion, Environment, Tenant
from lifecycle.systems.postgresql.streams import identity


class Command(NounCommand):
    """The data map: where tenant and user data lies."""

    help = "The data map: check, publish, prepare, show."

    def add_verbs(self) -> None:
        check = self.verb(
            "check", self.check_map, "name what lies in the live systems and nobody has classified"
        )
        check.add_argument("--tenant", help="only this tenant's environments")
        publish = self.verb("publish", self.publish, "put a new version in force")
        publish.add_argument("file", metavar="FILE")
        add_as(publish)
        prepare = self.verb(
            "prepare",
            self.prepare,
            "give a region's tables what moving a tenant needs; writers go on meanwhile",
        )
        prepare.add_argument("--region", required=True)
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

    def prepare(self, options: Options) -> Answer:
        """Exit code 1 when no environment in the region names a database."""
        datamap, region = tenants.current_map(), options["region"]
        here = Environment.objects.filter(region=region, gone_at=None)
        found = [places.place(each, "postgresql") for each in here if "postgresql" in each.places]
        addresses = sorted({place.get("mover_dsn") or place["dsn"] for place in found})
        if not addresses:
            sentence = f"No environment in {region} names a PostgreSQL database. Register one, then prepare."
            return Answer({"region": region, "done": [], "filled": 0}, [sentence], code=1)
        say = (lambda _sentence: None) if options["as_json"] else self.stdout.write
        reports = [identity.prepare(address, datamap, say) for address in addresses]
        done = [sentence for report in reports for sentence in report.done]
        return Answer(
            {"region": region, "done": done, "filled": sum(report.filled for report in reports)},
            [f"{region} is ready for moves."],
        )

    def show(self, options: Options) -> Answer:
        """The text in force."""
        row = DataMapVersion.objects.first()
        if row is None:
            tenants.current_map()
            return Answer(None)
        return Answer({"version": row.version, "digest": row.digest, "text": row.text}, row.text.splitlines())
