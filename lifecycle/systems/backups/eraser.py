"""Erases one subject from archives: excluded from every restore, and the key of their parts destroyed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from compliance.keystore import KeyDestroyed, KeyMissing
from lifecycle.datamap.model import DataMap
from lifecycle.systems.backups import archive, layout, rewriting
from lifecycle.systems.backups.catalogue import Reach
from lifecycle.systems.backups.keys import check_of
from lifecycle.systems.backups.layout import Exclusion, Manifest, Row
from lifecycle.systems.base import Action, Gate, Item, Page, Permanent, Planted, Scope, Subject, Tally

ENTRIES, SECONDS = 5_000, 8.0
SHAPES = {"archive_part": True, "archive_part_of_nobody": False}  # shape -> sealed under a person's key


class BackupsEraser:
    """See `lifecycle.systems.base.Eraser`. An item is one part that can be read; a destroyed key ends many at once.

    Where something under a key is retained or held the key lives, and the other parts under it are deleted instead.
    """

    name = "backups"
    method = (
        "exclusion that every restore honours; data key of the subject's archive parts destroyed with every wrapping, "
        "the recovery recipient's too (AES-256-GCM); parts beside retained ones deleted in all versions; purge date recorded"
    )
    batch = 500
    clean_passes = 1

    def __init__(self, place: Mapping[str, str], datamap: DataMap) -> None:
        self._catalogue = archive.connect(place)

    def discover(self, scope: Scope, cursor: Any) -> Page[Item]:
        """Readable parts of the subject, archive by archive; kept ones are marked with their category."""
        reach, end, found = Reach(scope, self._catalogue.keys), time.monotonic() + SECONDS, list[Item]()
        waiting = [name for name in self._catalogue.archives(reach.tenant) if cursor is None or name > cursor]
        kept = reach.kept_keys(list(self._catalogue.manifests(reach.tenant))) if waiting else set()
        for name in waiting:
            manifest = self._catalogue.manifest(reach.tenant, name)
            for part in self._catalogue.readable(manifest) if manifest else ():
                if reach.covers(part.person):
                    # A destroyed key ends parts of every category, so such a batch is fenced for all of them.
                    category = part.category if part.key in kept else ""
                    action = Action.RETAIN if reach.keeps(part) else Action.ERASE
                    found.append(
                        Item(layout.PART, json.dumps([name, part.name]), category, action, part.size)
                    )
            if len(found) >= ENTRIES or time.monotonic() > end:
                return Page(found, name if name != waiting[-1] else None)
        return Page(found)

    def erase(self, scope: Scope, items: Sequence[Item], gate: Gate) -> Tally:
        """Excludes, then destroys the key or deletes the part; `archive_row` and `object_name` items are
        mentions: single rows of other parts, and whole objects."""
        reach, tally = Reach(scope, self._catalogue.keys), Tally()
        manifests = {each.archive: each for each in self._catalogue.manifests(reach.tenant)}
        kept = reach.kept_keys(list(manifests.values()))
        gate.check()
        self._exclude(scope, reach, list(manifests.values()), gate)
        doomed: set[str] = set()
        for item in items:
            gate.check()
            tally.erased += self._one(reach, manifests, kept, doomed, item, gate)
        for name in sorted(doomed):
            gate.check()
            self._destroy(name)
        tally.taken = len(items)
        return tally

    def _one(
        self,
        reach: Reach,
        manifests: dict[str, Manifest],
        kept: set[str],
        doomed: set[str],
        item: Item,
        gate: Gate,
    ) -> bool:
        """Whether this item goes now: at once, or with the key that is added to `doomed`."""
        if item.kind == layout.NAME:
            return bool(self._catalogue.vault.delete(item.key, gate))
        name, part_name, *row = json.loads(item.key)
        manifest = manifests.get(name)
        part = manifest.part(part_name) if manifest else None
        if manifest is None or part is None:
            return False  # an archive that was purged meanwhile
        if item.kind == layout.ROW:
            changed = rewriting.drop(self._catalogue, manifest, part, row[0], gate)
            manifests[name] = changed or manifest
            return changed is not None
        if not reach.covers(part.person) or reach.keeps(part):
            raise Permanent(
                "A part of somebody else, or one that is kept, was handed over for erasure. Nothing was done to it."
            )
        if part.key in kept:
            return bool(self._catalogue.vault.delete(manifest.path(part.name), gate))
        doomed.add(part.key)
        key = self._catalogue.keys.get(part.key)
        return key is not None and check_of(key) == part.check

    def redact(self, scope: Scope, item: Item, gate: Gate) -> Tally:
        """Takes the subject's identifiers out of one row of somebody else's part."""
        name, part_name, row = json.loads(item.key)
        manifest = self._catalogue.manifest(scope.subject.tenant, name)
        part = manifest.part(part_name) if manifest else None
        if manifest is None or part is None:
            return Tally(taken=1)
        done = rewriting.redact(self._catalogue, manifest, part, row, scope, gate)
        return Tally(taken=1, anonymised=int(done is not None))

    def finish(self, scope: Scope, gate: Gate) -> Tally:
        """Excludes and destroys keys also where no archive held a part; tells which keys are gone and the purge date."""
        reach = Reach(scope, self._catalogue.keys)
        manifests = list(self._catalogue.manifests(reach.tenant))
        kept, keys = reach.kept_keys(manifests), self._catalogue.keys
        gate.check()
        entry = self._exclude(scope, reach, manifests, gate)
        spared = {keys.name(reach.tenant, person) for person in reach.spared}
        wanted = {keys.name(reach.tenant, reach.person)} if reach.person else set(keys.names(reach.tenant))
        wanted |= {part.key for each in manifests for part in each.parts if reach.covers(part.person)}
        for name in sorted(wanted - kept - spared):
            gate.check()
            self._destroy(name)
        destroyed = sorted(name for name in wanted - kept - spared if keys.store.destroyed_at(name))
        detail: dict[str, Any] = {"keys_destroyed": destroyed}
        if entry.purge_by:
            detail["notes"] = f"Archives that hold unreadable parts are purged by {entry.purge_by[:10]}."
        return Tally(detail=detail)

    def shapes(self, scope: Scope) -> Sequence[str]:
        return [shape for shape, own in SHAPES.items() if own or scope.subject.user is None]

    def plant(self, scope: Scope, shape: str, marker: str) -> Planted:
        """An archive of one part that holds the marker. No name of an object holds it: those outlive the key."""
        tenant = scope.subject.tenant
        person = (
            self._catalogue.keys.pseudonym(tenant, scope.subject.user or "planted") if SHAPES[shape] else ""
        )
        name = f"planted-{hashlib.sha256(marker.encode()).hexdigest()[:20]}"
        known = self._catalogue.manifest(tenant, name)
        if known is None or not self._catalogue.readable(known):
            rows = [Row(person, layout.CANARY, "canary", marker.encode())]
            archive.create(self._catalogue, tenant, rows, archive=name, planted=True)
        return Planted(shape, marker, json.dumps([tenant, name]))

    def lift(self, planted: Planted) -> None:
        tenant, name = json.loads(planted.place)
        for key in self._catalogue.vault.keys(f"{layout.tenant_prefix(tenant)}{name}/"):
            self._catalogue.vault.remove(key)

    def anchors(self, scope: Scope) -> Mapping[str, tuple[str, ...]]:
        return {}

    def identify(self, scope: Scope) -> Subject:
        return scope.subject

    def close(self) -> None:
        self._catalogue.vault.close()

    def _destroy(self, name: str) -> None:
        """Every wrapping of a key, also one that a crash left. A key that never was gets no tombstone."""
        store = self._catalogue.keys.store
        with suppress(KeyDestroyed):
            try:
                store.get(name)
            except KeyMissing:
                return
        store.destroy(name)

    def _exclude(self, scope: Scope, reach: Reach, manifests: list[Manifest], gate: Gate) -> Exclusion:
        keys, subject = self._catalogue.keys, scope.subject
        identifiers = [subject.user, *subject.mails] if subject.user else [""]
        purge = max(
            (each.purge_at for each in manifests if any(reach.covers(part.person) for part in each.parts)),
            default=None,
        )
        entry = Exclusion(
            tenant=reach.tenant,
            person=reach.person,
            ledger=tuple(keys.ledger(reach.tenant, each) for each in identifiers),
            erased_at=datetime.now(UTC).isoformat(timespec="seconds"),
            purge_by=purge.isoformat() if purge else None,
            retained=tuple(sorted({*scope.retained, *scope.held_categories})),
            spared=tuple(sorted(reach.spared)),
        )
        return self._catalogue.exclude(entry, gate.deadline)


def connect(place: Mapping[str, str], datamap: DataMap) -> BackupsEraser:
    """The eraser of the archives at `place`."""
    return BackupsEraser(place, datamap)
