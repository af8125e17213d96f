"""`manage.py applier`: brings objects and vectors that one region wrote to the region that follows."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connection
from psycopg2.extensions import make_dsn

from lifecycle.applier.service import Applier
from lifecycle.secrets import resolve


class Command(BaseCommand):
    """One process serves all live moves; a second one does no harm, and takes over when the first dies."""

    help = "Applies changes of moving tenants to S3 and Pinecone of the region that follows, until ended by SIGTERM."
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Works until SIGTERM or Ctrl-C; what is under way is finished."""
        memory = Path(settings.RUN_DIR) / "applier" / "moves.json"
        applier = Applier(_control_dsn(), resolve, memory)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: applier.stop())
        applier.run()


def _control_dsn() -> str:
    """The control database's address as Django has it, for plain SQL."""
    values = connection.get_connection_params()
    wanted = ("dbname", "host", "port", "user", "password", "sslmode", "sslrootcert")
    return make_dsn(**{name: str(values[name]) for name in wanted if values.get(name)})
