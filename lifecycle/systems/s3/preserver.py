"""Puts the provider's own legal hold on every object version of a scope, and takes it off again.

The caller counts the holds that cover a version and releases it with the last one. Delete markers hold no data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Item, Page, Permanent, Scope
from lifecycle.systems.s3.eraser import THREADS, S3Eraser
from lifecycle.systems.s3.eraser import connect as connect_eraser
from lifecycle.systems.s3.kinds import VERSION, split
from lifecycle.systems.s3.wire import Wire


def connect(place: Mapping[str, str], datamap: DataMap) -> S3Preserver:
    """The preserver of the bucket at `place`."""
    return S3Preserver(Wire(place, place["key"], place["secret"]), connect_eraser(place, datamap))


class S3Preserver:
    """See `lifecycle.systems.base.Preserver`."""

    name = "s3"

    def __init__(self, wire: Wire, finder: S3Eraser) -> None:
        self._wire = wire
        self._finder = finder
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="s3-hold")

    def preserve(self, scope: Scope, cursor: Any, leave_out: Sequence[str] = ()) -> Page[Item]:
        """Holds one page of versions; those that went meanwhile are not among the preserved, nor are those whose key
        holds a text of `leave_out`.

        Raises Permanent where the bucket has no Object Lock: nothing there can be held by the provider.
        """
        if cursor is None:
            self._require_lock()
        page = self._finder.discover(scope, cursor)
        versions = [item for item in page.entries if item.kind == VERSION]
        versions = [item for item in versions if not any(text in item.key for text in leave_out)]
        held = self._pool.map(lambda item: self._set(item, "ON"), versions)
        return Page([item for item, done in zip(versions, held, strict=True) if done], page.cursor)

    def release(self, items: Sequence[Item]) -> None:
        """Takes the hold off these versions; one that is gone needs no release."""
        for _ in self._pool.map(lambda item: self._set(item, "OFF"), items):
            pass

    def close(self) -> None:
        """Ends the threads and closes the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._finder.close()
        self._wire.close()

    def _require_lock(self) -> None:
        answer = self._wire.send("GET", query={"object-lock": ""})
        if answer.status != 200 or b"Enabled" not in answer.body:
            raise Permanent(
                "This bucket has no Object Lock, so the storage itself can't hold objects; only this program refuses "
                "to delete them. Create a bucket with Object Lock and move the objects there to close the gap."
            )

    def _set(self, item: Item, status: str) -> bool:
        key, version = split(item.key)
        body = f'<LegalHold xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>{status}</Status></LegalHold>'
        answer = self._wire.send("PUT", key, {"legal-hold": "", "versionId": version}, body.encode())
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise Permanent(
                f"The object storage refused a legal hold (status {answer.status} {answer.code()}); the key needs "
                "the right s3:PutObjectLegalHold."
            )
        return True
