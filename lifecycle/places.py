"""From an environment's settings to live adapters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lifecycle.datamap.model import DataMap
from lifecycle.models import Environment, Tenant
from lifecycle.secrets import resolve
from lifecycle.systems import registry
from lifecycle.systems.base import SYSTEMS, Eraser, Permanent, Verifier


def environments(tenant: Tenant | str) -> list[Environment]:
    """Every environment of the tenant that still exists, home first: blue, green, restored versions, clones."""
    tenant_id = tenant if isinstance(tenant, str) else tenant.pk
    found = list(Environment.objects.filter(tenant_id=tenant_id, gone_at=None))
    return sorted(found, key=lambda each: (each.role != Environment.Role.HOME, each.pk))


def systems_of(environment: Environment) -> list[str]:
    """The systems that this environment uses, in the order of the registry."""
    return [name for name in SYSTEMS if name in environment.places]


def place(environment: Environment, system: str) -> dict[str, str]:
    """The resolved settings of one system. Raises Permanent where the environment has none."""
    settings = environment.places.get(system)
    if not settings:
        raise Permanent(f"Environment {environment.pk} has no settings for {system}.")
    return {key: resolve(str(value)) for key, value in settings.items()}


@contextmanager
def eraser(environment: Environment, system: str, datamap: DataMap) -> Iterator[Eraser]:
    """The eraser of `system` in `environment`, closed at the end."""
    made = registry.eraser(system, place(environment, system), datamap)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def verifier(environment: Environment, system: str, datamap: DataMap) -> Iterator[Verifier]:
    """The verifier of `system` in `environment`, with its own read-only credentials, closed at the end."""
    made = registry.verifier(system, place(environment, system), datamap)
    try:
        yield made
    finally:
        made.close()
