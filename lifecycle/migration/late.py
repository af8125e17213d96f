"""The last look before the flip: what changed since the last clean pass, compared again while blue still owns.

A pass over the rows, begun when their changes are noted from the owner's log (`streams/changed.py`); then only what
changed since, of rows by that log and of objects and vectors by the outbox: its cost follows the rate of changes. What
blue writes between this look and the fence, milliseconds later, must arrive before green may write (the fence's marker).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from lifecycle.migration import movers
from lifecycle.models import Migration, Step
from lifecycle.systems.ledger import open_ledger
from lifecycle.systems.movable import Difference

KEYS = 500  # of one store, compared at once
WITHIN = 5.0  # seconds in which the flip's look must end; what changed in a longer one is looked at again


@dataclass(frozen=True, slots=True)
class Looked:
    """`found`: differences, mended already. `done`: everything that had changed was seen, soon enough for the flip.
    `waits`: why the look could not begin."""

    found: list[Difference]
    cursor: dict[str, Any]
    done: bool
    waits: str = ""


def look(migration: Migration, cursor: dict[str, Any], seconds: float) -> Looked:
    """One slice, of at most about `seconds`. Pass `cursor` on until it is done. Raises Transient, Permanent."""
    cursor, began = dict(cursor), time.monotonic()
    found: list[Difference] = []
    moved = movers.of(migration)
    if "postgresql" in moved:
        with movers.mover(migration, "postgresql") as mover:
            if why := mover.watch_changes():
                return Looked([], cursor, False, why)
            if not cursor.get("passed"):
                page = mover.compare(cursor.get("rows"), seconds)
                found = _mended(mover, page.entries)
                # A pass that found something is done again.
                clean = not (found or cursor.get("differed"))
                cursor |= {
                    "rows": page.cursor,
                    "differed": page.cursor is not None and not clean,
                    "passed": page.cursor is None and clean,
                }
                return Looked(found, cursor, False)
            found += _mended(mover, mover.compare_changed())
    ends = began + min(seconds, WITHIN)
    for store in ("s3", "pinecone"):
        if store in moved:
            found += _changed(migration, store, cursor, ends)
    return Looked(found, cursor, not found and time.monotonic() < ends)


def top(migration: Migration, store: str) -> int:
    """The number of blue's newest change of a store: what is written later is seen by a look from here on."""
    ledger = open_ledger(movers.mover_dsn(migration.source), migration.tenant_id)
    if ledger is None:
        return 0
    try:
        return ledger.top(store, migration.source_region)
    finally:
        ledger.close()


def end(migration: Migration) -> None:
    """Changes are noted no more: what notes them keeps the owner's log."""
    if "postgresql" in movers.of(migration):
        with movers.mover(migration, "postgresql") as mover:
            mover.watch_no_more()


def _changed(migration: Migration, store: str, cursor: dict[str, Any], ends: float) -> list[Difference]:
    """Looks at what changed, KEYS at once, until `ends`; moves the cursor's place on."""
    ledger = open_ledger(movers.mover_dsn(migration.source), migration.tenant_id)
    if ledger is None:
        return []
    found: list[Difference] = []
    try:
        cursor.setdefault(store, _of_clean_pass(migration, store))
        while time.monotonic() < ends:
            keys, newest = ledger.changed(store, migration.source_region, cursor[store], KEYS)
            if not keys:
                break
            with movers.mover(migration, store) as mover:
                found += _mended(mover, mover.compare_keys(keys))
            cursor[store] = newest
    finally:
        ledger.close()
    return found


def _mended(mover: Any, differing: Any) -> list[Difference]:
    if differing:
        mover.repair(list(differing))
    return list(differing)


def _of_clean_pass(migration: Migration, store: str) -> int:
    """Where the clean pass of the sync step began."""
    step = Step.objects.filter(run=migration.run_id, name="sync", lane=store).first()
    return int((step.result or {}).get("since", 0)) if step else 0
