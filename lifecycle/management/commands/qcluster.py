"""`manage.py qcluster`: the workers of this machine."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from lifecycle.engine import providers
from lifecycle.engine.cluster import Supervisor, guard
from lifecycle.engine.workflow import QUEUES
from lifecycle.systems import registry


class Command(BaseCommand):
    """Replaces django-q2's command of the same name: see lifecycle/engine/worker.py for the reason."""

    help = "Works on queued tasks until ended by SIGTERM or Ctrl-C (which let the slice under way end)."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "-n",
            "--queue",
            "--name",
            action="append",
            choices=QUEUES,
            help="only this queue (default: all; may be repeated)",
        )
        parser.add_argument("--workers", type=int, help="workers per queue, instead of the setting")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Serves the queues; returns when all workers have ended."""
        if options["workers"] is not None and options["workers"] < 1:
            raise CommandError("--workers must be at least 1.", returncode=2)
        counts = {queue: options["workers"] or _workers(queue) for queue in options["queue"] or QUEUES}
        _load()
        guard(lambda: Supervisor(counts).run())


def _load() -> None:
    """What steps import at their first need is imported once, and shared by all workers, which are forks of this process."""
    import_module("compliance.certificate.rendering")
    providers.load()
    registry.load()


def _workers(queue: str) -> int:
    alternative = settings.Q_CLUSTER.get("ALT_CLUSTERS", {}).get(queue, {})
    return int(alternative.get("workers", settings.Q_CLUSTER["workers"]))
