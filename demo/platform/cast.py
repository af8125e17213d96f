"""Who is on the sample platform: tenants, hostile twins among them, and their users."""

from __future__ import annotations

from dataclasses import dataclass

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
EAST, WEST = "us-east-1", "us-west-2"


@dataclass(frozen=True, slots=True)
class Customer:
    """One tenant. `users` are the platform's user ids."""

    id: str
    name: str
    region: str
    kind: str = "standard"
    tier: str = "silver"
    users: tuple[str, ...] = ("ada", "bob", "cyd")

    @property
    def admin(self) -> str:
        """The mail address of the tenant's administrator, who is no user of the platform."""
        return f"admin@{_host(self.id)}.example"


def _host(tenant: str) -> str:
    return "tenant-" + "".join(
        each if each.isascii() and each.isalnum() else f"x{ord(each):x}" for each in tenant
    )


CUSTOMERS = (
    Customer("1", "One & Sons", EAST),
    Customer(
        "17", "Seventeen GmbH", EAST, kind="regulated", tier="gold", users=("ada", "bob", "cyd", "dan", "eve")
    ),
    Customer("117", "Oneseventeen Ltd", EAST),
    Customer("1*", "Star Holdings", EAST),
    Customer("a_b", "Underscore AB", EAST),
    Customer("größe", "Größe AG", EAST, users=("zoë", "zoe", "bob")),
    Customer(
        "acme", "Acme Inc", EAST, kind="contracted", tier="platinum", users=("u-1", "u-12", "u-123", "U-1")
    ),
    Customer("acme-eu", "Acme Europe", WEST, users=("u-1", "u-2")),
)


def customer(tenant: str) -> Customer:
    """The tenant of this id. Raises KeyError with a sentence."""
    for each in CUSTOMERS:
        if each.id == tenant:
            return each
    raise KeyError(f"The sample platform has no tenant {tenant!r}.")


def mail(tenant: str, user: str) -> str:
    """The mail address of one user; unique on the platform, also for `U-1` beside `u-1` and `zoë` beside `zoe`."""
    return f"{_plain(user)}@{_host(tenant)}.example"


def full_name(tenant: str, user: str) -> str:
    """The full name of one user; unique on the platform."""
    return f"{_plain(user).title()} Of{_host(tenant).removeprefix('tenant-').title()}"


def _plain(user: str) -> str:
    return "".join(each if each in _PLAIN else f"x{ord(each):x}" for each in user)
