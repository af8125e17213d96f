"""Modules that register workflows and undo actions, imported when first one is asked for.

Most commands ask for none, and importing all costs them more than their work.
"""

from __future__ import annotations

from importlib import import_module

_modules: list[str] = []


def provided_by(*modules: str) -> None:
    """Names modules to be imported by `load`."""
    _modules.extend(modules)


def load() -> None:
    """Imports all that were named; what is imported already costs nothing."""
    for module in _modules:
        import_module(module)
