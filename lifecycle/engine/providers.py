"""Modules that register workflows and undo actions, imported when first one is asked for.

Most commands ask for none, and importing all costs them more than their work.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TypeVar

from lifecycle.systems.base import Permanent

T = TypeVar("T")
_modules: list[str] = []


def provided_by(*modules: str) -> None:
    """Names modules to be imported by `find`."""
    _modules.extend(modules)


def load() -> None:
    """Imports the named modules now."""
    for module in _modules:
        import_module(module)


def find(known: Mapping[str, T], name: str, what: str) -> T:
    """What the named modules registered in `known` under this name. Raises Permanent when none did; `what` says of which kind."""
    if name not in known:
        load()
    if name not in known:
        raise Permanent(f"This version of the program has no {what} {name!r}.")
    return known[name]
