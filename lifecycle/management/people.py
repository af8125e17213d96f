"""Who stands behind a command: `--as USER`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate, get_user_model

from compliance.actors import Actor, person
from compliance.errors import Refused


def add_as(parser: ArgumentParser, *, required: bool = True) -> None:
    """Adds `--as USER` to a verb."""
    parser.add_argument(
        "--as",
        dest="as_user",
        metavar="USER",
        required=required,
        help="who does it; elsewhere than on a local stack that user's password is read from standard input",
    )


def acting_user(options: Mapping[str, Any]) -> Actor:
    """The actor of `--as`. Taken at its word on a local stack only, else the password is read from standard input.

    Raises Refused for an unknown or inactive user, a wrong or missing password, or no `--as`.
    """
    name = options.get("as_user")
    if not name:
        raise Refused("Say who does this: --as USER.")
    if settings.LOCAL_STACK:
        user = get_user_model().objects.filter(username=name, is_active=True).first()
        if user is None:
            raise Refused(f"There is no active user {name!r}.")
        return person(user, via="cli")
    proven = authenticate(username=name, password=sys.stdin.readline().rstrip("\r\n"))
    if proven is None:
        raise Refused("User and password don't match. The password is read from standard input.")
    return person(proven, via="cli")
