"""`manage.py demo seed-platform`: our own rows for the sample platform; `demo seed --scale N`: its data."""

from __future__ import annotations

import argparse
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from demo.platform import own_rows


class Command(BaseCommand):
    """Seeds the sample platform."""

    help = "Seeds the sample platform."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("seed-platform", help="people, tenants, environments, data map; no data of theirs")

    def handle(self, *_args: Any, **options: Any) -> None:
        own_rows.seed_platform(settings.STACK)
        self.stdout.write("The platform is set up.")
