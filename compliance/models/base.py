"""Shared by the models: public ids."""

from __future__ import annotations

import secrets

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


def new_id(prefix: str) -> str:
    """A public id such as `er-7k2m9qpxw4`: 10 random characters (49 bits), none that is mistaken for another."""
    return f"{prefix}-" + "".join(secrets.choice(_ALPHABET) for _ in range(10))
