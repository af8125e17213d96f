"""What provisioning a green environment is, whichever tool does it. No Django here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Places = Mapping[str, Mapping[str, str]]  # system -> setting -> value or secret reference


@dataclass(frozen=True, slots=True)
class Wanted:
    """What green is made for. `id` is small letters, digits and `_`; `places` are the region's shared servers."""

    id: str
    tenant: str
    region: str
    places: Places = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be made: one line a change, and the digest that an approver binds to."""

    tool: str
    changes: tuple[str, ...]
    digest: str

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {"tool": self.tool, "changes": list(self.changes), "digest": self.digest}


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a piece of work is. `finished` with `places` once it is made; `error` is a sentence where it failed."""

    finished: bool
    done: int = 0
    total: int = 0
    places: Places | None = None
    error: str = ""


class Provisioner(Protocol):
    """Makes and unmakes what a green environment needs. Every method may be called again after a crash anywhere."""

    def propose(self, wanted: Wanted) -> Proposal:
        """What `make` would do; changes nothing outside."""

    def make(self, wanted: Wanted, digest: str, secrets: Places) -> Standing:
        """Begins, or looks how far it is; call again until `finished`. Raises Permanent where the proposal changed."""

    def destroy(self, wanted: Wanted, secrets: Places) -> Standing:
        """Unmakes all of it, state included; call again until `finished`."""
