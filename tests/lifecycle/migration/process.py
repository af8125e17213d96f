"""A command of ours in a process of its own, on the test database: `python -m tests.lifecycle.migration.process DATABASE NAME`."""

import sys

import django
from django.conf import settings
from django.core.management import call_command


def main(database: str, command: str) -> None:
    settings.DATABASES["default"]["NAME"] = database
    django.setup()
    call_command(command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
