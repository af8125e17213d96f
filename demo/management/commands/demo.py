"""`manage.py demo seed-platform`: our own rows for the sample platform; `demo seed --scale N`: its data."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from demo.platform import own_rows
from demo.platform.cast import CUSTOMERS, EAST, WEST, Customer
from demo.platform.seed import everything
from demo.stack.place import read_json, write_private


class Command(BaseCommand):
    """Seeds the sample platform."""

    help = "Seeds the sample platform."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("seed-platform", help="people, tenants, environments, data map; no data of theirs")
        seed = verbs.add_parser("seed", help="the tenants' data in every system, the same on each run")
        seed.add_argument("--scale", type=_scale, default=1, help="multiplies the documents of tenant 17")
        seed.add_argument("--tenant", help="only this one")
        seed.add_argument(
            "--missing", action="store_true", help="only tenants not seeded yet; what was erased stays erased"
        )
        seed.add_argument("--region", choices=[EAST, WEST], help="only tenants at home there")
        tenant = verbs.add_parser(
            "tenant", help="a new tenant with users and data; prints its administrator's mail"
        )
        tenant.add_argument("id")
        tenant.add_argument("--users", default="ada,bob", help="user ids, comma-separated")
        tenant.add_argument("--kind", default="standard", help="type of tenant, for retention rules")
        tenant.add_argument("--region", choices=[EAST, WEST], default=EAST)

    def handle(self, *_args: Any, **options: Any) -> None:
        if not settings.STACK:
            raise CommandError("No local stack is described. Start it with `make stack`.")
        if options["verb"] == "seed-platform":
            own_rows.seed_platform(settings.STACK)
            self.stdout.write("The platform is set up.")
        elif options["verb"] == "tenant":
            made = Customer(
                options["id"], f"Tenant {options['id']}", options["region"], options["kind"],
                users=tuple(options["users"].split(",")),
            )  # fmt: skip
            own_rows.enrol(made)
            everything.seed(settings.STACK, [made])
            self.stdout.write(made.admin)
        elif options["missing"]:
            self._report(everything.seed_missing(settings.STACK, read_json(_seeded())))
        else:
            self._seed(options["scale"], options["tenant"], options["region"])

    def _seed(self, scale: int, tenant: str | None, region: str | None) -> None:
        chosen = [each for each in CUSTOMERS if tenant in (None, each.id) and region in (None, each.region)]
        if not chosen:
            raise CommandError(
                "The sample platform has no such tenant there. `demo seed` without options seeds all."
            )
        self._report(everything.seed(settings.STACK, chosen, scale=scale), chosen)

    def _report(self, written: dict[str, int], chosen: Iterable[Customer] = CUSTOMERS) -> None:
        write_private(_seeded(), read_json(_seeded()) | {each.id: True for each in chosen})
        told = ", ".join(f"{count} in {system}" for system, count in written.items())
        self.stdout.write(f"Seeded: {told}." if told else "Everything was seeded before.")


def _seeded() -> Path:
    """Remembers the seeded tenants; lies with the servers' data, so that it goes with them."""
    return Path(settings.RUN_DIR) / "data" / "seeded.json"


def _scale(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a whole number of 1 or more")
    return int(text)
