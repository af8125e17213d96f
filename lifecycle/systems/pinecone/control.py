"""Pinecone's control plane through the official SDK: which indexes and backups there are.

The SDK is kept to this plane. It retries deletions by itself, behind the gate, and hides the log sequence numbers
(LSN) by which a reader tells whether it sees a write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import httpx
from pinecone import Pinecone
from pinecone.errors import exceptions as errors

from lifecycle.systems.base import Permanent, Transient

T = TypeVar("T")
# msgspec, under the SDK, crashes the interpreter when two threads build a decoder at once.
SDK = threading.Lock()
_PASSING = (
    errors.RateLimitError,
    errors.ServiceError,
    errors.PineconeConnectionError,
    errors.PineconeTimeoutError,
    httpx.HTTPError,
)


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup of an index: a whole copy, of which nothing can be taken out."""

    id: str
    index: str
    created_at: str


class Control:
    """Indexes, their hosts and their backups, within one project."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self._place = place
        self._client: Any = None

    def hosts(self) -> dict[str, str]:
        """Every index with its address; that of the environment's own index comes from its settings."""
        found = {index.name: address(index.host) for index in self._ask(lambda sdk: list(sdk.indexes.list()))}
        return {self._place["index"]: address(self._place["index_host"])} | {
            name: host for name, host in found.items() if name != self._place["index"]
        }

    def backups(self) -> list[Backup]:
        """Every backup of every index of the project."""
        found: list[Backup] = []
        token: str | None = None
        while True:
            page, token = self._ask(partial(_backup_page, token))
            found += page
            if not token:
                return found

    def delete_backup(self, backup: str) -> bool:
        """Delete one backup; False where it is gone already."""
        try:
            self._ask(lambda sdk: sdk.backups.delete(backup_id=backup))
        except Permanent as error:
            if isinstance(error.__cause__, errors.NotFoundError):
                return False
            raise
        return True

    def _ask(self, call: Callable[[Any], T]) -> T:
        with SDK:
            try:
                if self._client is None:
                    host = self._place["control_host"]
                    self._client = Pinecone(
                        api_key=self._place["key"],
                        host=host,
                        timeout=20.0,
                        ssl_verify=not host.startswith("http://"),  # nothing to verify on a loopback server
                    )
                return call(self._client)
            except _PASSING as error:
                raise Transient("Pinecone's control plane did not answer; try again.") from error
            except errors.PineconeError as error:
                raise Permanent(
                    f"Pinecone's control plane refused a request ({type(error).__name__}); check control_host and key."
                ) from error


def _backup_page(token: str | None, sdk: Any) -> tuple[list[Backup], str | None]:
    page = sdk.backups.list(limit=100, pagination_token=token)
    found = [Backup(b.backup_id, b.source_index_name, str(b.created_at or "")) for b in page]
    return found, page.pagination.next if page.pagination else None


def address(host: str) -> str:
    """A host as an address: the real service names bare hosts, which speak TLS."""
    return host.rstrip("/") if "://" in host else f"https://{host}"
