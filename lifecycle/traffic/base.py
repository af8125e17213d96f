"""What a load balancer must be able to do for a move. No Django here.

Requests of one tenant are split between two regions by a hash of the user, so that a user stays where he is while the
share doesn't change. Only one process may change the split: the watchdog.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from lifecycle.systems.base import Permanent, Transient

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class Refused(Permanent):
    """The load balancer can't do what was asked, however often it is tried."""


class Unreachable(Transient):
    """The load balancer doesn't answer."""


@dataclass(frozen=True, slots=True)
class Split:
    """Where a tenant's requests go: `share` percent of the users to `target`, everyone else to `home` (regions).

    An empty `target`: the tenant isn't moving.
    """

    home: str
    target: str = ""
    share: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 100:
            raise Refused(f"A share is between 0 and 100 percent, not {self.share}.")
        if self.share and not self.target:
            raise Refused("A share needs a target region.")
        for region in filter(None, (self.home, self.target)):
            checked(region)


@dataclass(frozen=True, slots=True)
class Count:
    """Counters of one moving tenant in one region since the load balancer started; `open` is sessions now."""

    requests: int
    failed: int
    open: int


class Traffic(Protocol):
    """A load balancer. Times: a change is in force when `apply` returns."""

    def read(self, tenant: str) -> Split:
        """The split in force. Raises Unreachable."""

    def moving(self) -> Mapping[str, Split]:
        """The splits in force of all moving tenants. Raises Unreachable."""

    def apply(self, tenant: str, split: Split) -> None:
        """Puts the split in force, and keeps it over a restart. Raises Refused, Unreachable."""

    def cut(self, tenant: str, region: str = "") -> None:
        """Ends the moving tenant's requests that are under way (to one region); nobody else's."""

    def counters(self) -> Mapping[tuple[str, str], Count]:
        """By (tenant, region), of moving tenants."""

    def close(self) -> None: ...


def checked(name: str) -> str:
    """`name` if it can stand in a load balancer's tables. Raises Refused."""
    if not _NAME.fullmatch(name):
        raise Refused(
            "Names of tenants and regions have 1 to 64 letters, digits and . _ @ - at a load balancer."
        )
    return name
