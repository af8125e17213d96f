#!/usr/bin/env python
"""The one door: `manage.py NOUN VERB`."""

import os
import sys

if __name__ == "__main__":
    if sys.argv[1:] == ["watchdog"]:
        # A killed watchdog must be back before leases are over; loading Django takes longer than that.
        from lifecycle.watchdog.__main__ import main

        sys.exit(main())

    from django.core.management import execute_from_command_line

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    execute_from_command_line(sys.argv)
