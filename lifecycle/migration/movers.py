"""From a migration's rows to live movers: sides with resolved places, one mover a system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lifecycle import places, tenants
from lifecycle.models import Environment, Migration
from lifecycle.secrets import resolve
from lifecycle.systems import registry
from lifecycle.systems.base import Permanent
from lifecycle.systems.movable import Move, Side

APPLICATION = (
    "application"  # an environment's place of the region's service: `url`, and `questions` for warming
)


def move_id(migration: Migration) -> str:
    """The id that names slots, schemas and folders: small letters, digits and `_`."""
    return migration.pk.replace("-", "_")


def systems(source: Environment, target: Environment) -> list[str]:
    """What is moved between two environments, in the registry's order."""
    return [name for name in registry.MOVABLE if name in source.places and name in target.places]


def of(migration: Migration) -> list[str]:
    """What this migration moves."""
    return systems(migration.source, target_of(migration))


def target_of(migration: Migration) -> Environment:
    """Green. Raises Permanent before it was provisioned."""
    if migration.target is None:
        raise Permanent(f"Green of {migration.pk} is not provisioned yet.")
    return migration.target


def side(environment: Environment, system: str) -> Side:
    """One system of one environment. Stores other than the database learn where its ledger is."""
    found = places.place(environment, system)
    if system != "postgresql" and "postgresql" in environment.places:
        found["ledger_dsn"] = mover_dsn(environment)
    application = environment.places.get(APPLICATION, {})
    if system == "redis" and application.get("url"):
        found["app"] = resolve(application["url"])
        found.update({"questions": application["questions"]} if application.get("questions") else {})
    return Side(environment.region, found)


def mover_dsn(environment: Environment) -> str:
    """The address of the database for the role that may replicate; a secret."""
    return resolve(mover_reference(environment))


def mover_reference(environment: Environment) -> str:
    """Its reference, as it may be stored. Raises Permanent where the environment has none."""
    rows: dict[str, str] = environment.places.get("postgresql", {})
    found = rows.get("mover_dsn") or rows.get("dsn")
    if not found:
        raise Permanent(
            f"Environment {environment.pk} has no settings for postgresql; a move needs its database."
        )
    return found


@contextmanager
def between(name: str, tenant: str, source: Environment, target: Environment, system: str) -> Iterator[Any]:
    """A mover between two environments, closed at the end. `name` is a move's id."""
    made = registry.mover(
        system, Move(name, tenant, side(source, system), side(target, system)), tenants.current_map()
    )
    try:
        yield made
    finally:
        made.close()


@contextmanager
def mover(migration: Migration, system: str) -> Iterator[Any]:
    """The mover of one system of a migration. Typed loosely: the database's has more verbs than the contract."""
    with between(
        move_id(migration), migration.tenant_id, migration.source, target_of(migration), system
    ) as made:
        yield made


def environment_of(migration: Migration, which: str) -> Environment:
    """`source` or `target`."""
    return migration.source if which == "source" else target_of(migration)
