"""`manage.py worker_health`: exit code 1 when no canary came through a queue for three minutes."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from lifecycle.engine.schedules import silent_queues
from lifecycle.engine.workflow import QUEUES


class Command(BaseCommand):
    """For an orchestrator's liveness probe."""

    help = "Says whether tasks get through every queue. Exit code 0: yes; 1: no, with the queue named."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "-n", "--queue", action="append", choices=QUEUES, help="only this queue (may be repeated)"
        )
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="one JSON document on standard output"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Prints what is silent. Raises CommandError (exit code 1) when something is."""
        queues = tuple(options["queue"] or QUEUES)
        try:
            silent = silent_queues(queues)
        except DatabaseError as error:
            silent = [f"The control database does not answer ({type(error).__name__})."]
        if options["as_json"]:
            self.stdout.write(json.dumps({"healthy": not silent, "queues": list(queues), "reasons": silent}))
        elif not silent:
            self.stdout.write(f"Healthy: {', '.join(queues)}.")
        if silent:
            raise CommandError(" ".join(silent))
