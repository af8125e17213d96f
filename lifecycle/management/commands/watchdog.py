"""`manage.py watchdog`: the process that alone changes weights and owners of moving tenants."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from lifecycle.watchdog.__main__ import main


class Command(BaseCommand):
    """For `manage.py help` and call_command; manage.py itself starts the watch without loading Django."""

    help = "Watches all moves, follows their orders, and takes a bad green back by itself. Ends on SIGTERM."
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Runs until it is ended."""
        sys.exit(main())
