"""What a provider would delete by itself while a legal hold stands: named, suspended, restored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lifecycle.systems.base import Scope


@dataclass(frozen=True, slots=True)
class Expiry:
    """One rule of a provider. `on`: it deletes now; `days` is what restoring needs, where the provider forgets it."""

    name: str
    on: bool
    days: int | None = None


class Expirer(Protocol):
    """A system whose provider deletes by age."""

    def address(self) -> str:
        """Where the rules live: the same text for every environment that shares them."""

    def found(self, scope: Scope) -> list[Expiry]:
        """Every rule that covers the scope's data, suspended ones included."""

    def suspend(self, names: Sequence[str]) -> None:
        """Stops these rules; idempotent."""

    def restore(self, rules: Mapping[str, int | None]) -> None:
        """Lets them work again as they were, unless somebody has changed or removed them meanwhile."""

    def close(self) -> None:
        """Closes connections."""
