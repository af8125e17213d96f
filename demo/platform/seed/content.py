"""What is seeded, system by system, from the cast alone: no clock, no random number that differs between runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from demo.platform.cast import Customer, full_name, mail

DAWN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
BIG = "17"  # the tenant that grows with the scale
DIMENSION = 8


@dataclass(frozen=True, slots=True)
class Document:
    """One document of one user, with what belongs to it in every system."""

    tenant: str
    owner: str
    id: str
    number: int

    @property
    def title(self) -> str:
        return f"Report {self.number} by {full_name(self.tenant, self.owner)}"

    @property
    def s3_key(self) -> str:
        return f"tenant-{self.tenant}/user-{self.owner}/{self.id}"

    @property
    def body(self) -> bytes:
        return (
            f"{self.title}\n" + f"Figures of {self.owner} for quarter {self.number % 4 + 1}.\n" * 8
        ).encode()

    @property
    def chunks(self) -> range:
        return range(3)

    def embedding(self, chunk: int) -> list[float]:
        """Eight numbers between 0 and 1 that only this chunk has."""
        digest = hashlib.sha256(f"{self.id}#{chunk}".encode()).digest()
        return [round(byte / 255, 4) for byte in digest[:DIMENSION]]


def per_user(customer: Customer, scale: int) -> int:
    """Documents of each user."""
    return 3 * scale if customer.id == BIG else 3


def documents(customer: Customer, scale: int) -> Iterator[Document]:
    """Every document of a tenant."""
    for user in customer.users:
        for number in range(per_user(customer, scale)):
            # Ids are unique on the whole platform and say nothing of their owner.
            digest = hashlib.sha256(f"{customer.id}/{user}/{number}".encode()).hexdigest()[:16]
            yield Document(customer.id, user, f"doc-{digest}", number)


def log_lines(customer: Customer, scale: int) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(group, stream, fields) of every log line; JSON lines with user ids and mails."""
    for user in customer.users:
        for number in range(4 * per_user(customer, scale)):
            fields = {
                "tenant": customer.id,
                "user_id": user,
                "email": mail(customer.id, user),
                "event": ("login", "search", "upload", "logout")[number % 4],
                "n": str(number),
            }
            yield f"/ecs/tenant-{customer.id}", f"web/{number % 2}", fields
            if number % 4 == 1:
                yield f"/aws/lambda/tenant-{customer.id}", "search/0", fields
