"""The catalogue: which archives a tenant has, and who is excluded from every restore."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from lifecycle.systems.backups import layout
from lifecycle.systems.backups.keys import Keys, check_of
from lifecycle.systems.backups.layout import Exclusion, Manifest, Part
from lifecycle.systems.backups.vault import Vault
from lifecycle.systems.base import Permanent, Scope

EVERYTHING = "*"


class Catalogue:
    """Archives and exclusions in one bucket, with the keys that open them."""

    def __init__(self, vault: Vault, keys: Keys) -> None:
        self.vault, self.keys = vault, keys

    def archives(self, tenant: str) -> list[str]:
        """Names of the tenant's archives, sorted; unfinished ones too."""
        prefix = layout.tenant_prefix(tenant)
        return [folder.removeprefix(prefix).rstrip("/") for folder in self.vault.folders(prefix)]

    def manifest(self, tenant: str, archive: str) -> Manifest | None:
        """An archive's manifest, None where it is unfinished. Raises Permanent where it can't be read."""
        data = self.vault.get(f"{layout.tenant_prefix(tenant)}{archive}/manifest.json")
        if data is None:
            return None
        try:
            found = layout.read_manifest(data)
        except (ValueError, KeyError, TypeError) as error:
            raise Permanent("The manifest of an archive can't be read. Repair it before erasing.") from error
        if (found.tenant, found.archive) != (tenant, archive):
            raise Permanent("The manifest of an archive names another archive. Repair it before erasing.")
        return found

    def manifests(self, tenant: str) -> Iterator[Manifest]:
        """Every finished archive of the tenant."""
        for archive in self.archives(tenant):
            found = self.manifest(tenant, archive)
            if found is not None:
                yield found

    def readable(self, manifest: Manifest) -> list[Part]:
        """The parts that are there and whose key can be had."""
        present = set(self.vault.keys(manifest.path("parts/")))
        checks: dict[str, str] = {}
        for name in {part.key for part in manifest.parts}:
            key = self.keys.get(name)
            checks[name] = check_of(key) if key else ""
        return [
            part
            for part in manifest.parts
            if manifest.path(part.name) in present and checks[part.key] == part.check
        ]

    def exclusions(self, tenant: str) -> list[Exclusion]:
        """Everyone of the tenant who is left out of restores."""
        found = (self.vault.get(key) for key in self.vault.keys(layout.exclusions_prefix(tenant)))
        return [layout.read_exclusion(data) for data in found if data is not None]

    def exclude(self, entry: Exclusion, ends: datetime | None = None) -> Exclusion:
        """Records an exclusion, once; its first time stays. Returns what stands there now."""
        path = self._path(entry.tenant, entry.ledger[0])
        data = self.vault.get(path)
        if data is not None:
            known = layout.read_exclusion(data)
            entry = replace(entry, erased_at=known.erased_at if not known.readmitted_at else entry.erased_at)
        if data != entry.encode():
            self.vault.put(path, entry.encode(), ends)
        return entry

    def readmit(self, tenant: str, user: str, at: datetime) -> None:
        """From `at` on, the id is a new person's: later archives hold and restore them, older ones never.

        Raises Permanent where nobody of that id was erased.
        """
        path = self._path(tenant, self.keys.ledger(tenant, user))
        data = self.vault.get(path)
        if data is None:
            raise Permanent("Nobody of that id was erased from the archives, so there is nobody to readmit.")
        self.vault.put(path, replace(layout.read_exclusion(data), readmitted_at=at.isoformat()).encode())

    @staticmethod
    def _path(tenant: str, ledger: str) -> str:
        return f"{layout.exclusions_prefix(tenant)}{ledger}.json"


class Reach:
    """What of a tenant's archives a scope covers, and what in it is kept."""

    def __init__(self, scope: Scope, keys: Keys) -> None:
        self.tenant = scope.subject.tenant
        self.person = keys.pseudonym(self.tenant, scope.subject.user)
        self.spared = frozenset(keys.pseudonym(self.tenant, user) for user in scope.spared_users)
        self._kept = frozenset(scope.retained) | scope.held_categories

    def covers(self, person: str) -> bool:
        """Whether parts of `person` ("": nobody's) are the subject's."""
        return person == self.person if self.person else True

    def keeps(self, part: Part) -> bool:
        """Whether a covered part stays: a held user's, or of a category that is retained or held."""
        if part.person and part.person in self.spared:
            return True
        return not part.canary and (part.category in self._kept or EVERYTHING in self._kept)

    def kept_keys(self, manifests: list[Manifest]) -> set[str]:
        """Keys under which something covered is kept: these are never destroyed."""
        return {
            part.key
            for manifest in manifests
            for part in manifest.parts
            if self.covers(part.person) and self.keeps(part)
        }
