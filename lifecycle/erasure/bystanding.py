"""Everyone else's data, before and after: unchanged, changed by its owner, or unexplained.

Before anything is destroyed each bystander item leaves 16 sealed bytes. Afterwards an item that is gone is explained
only by another case's own manifest; an item whose key is still there with other content was changed by its owner,
since erasing never updates other people's items. Whatever else is gone is unexplained, and blocks the certificate.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import zstandard
from django.db.models import Q

from compliance import pseudonyms
from compliance.sealing import seal, unseal
from lifecycle import places
from lifecycle.engine.workflow import Context
from lifecycle.erasure import cases, manifest
from lifecycle.erasure.cases import CaseFile
from lifecycle.models import BystanderGroup, SystemLine
from lifecycle.systems.base import Entry

Groups = dict[str, list[bytes]]
SECONDS = 20.0  # a pass can't be interrupted: it begins in a slice that has at least this left


def note_before(file: CaseFile, line: SystemLine, context: Context) -> None:
    """Seals the digest and entries of every bystander group of a line, once."""
    if line.detail.get("bystanders_noted") == file.case.round:
        return
    for owner, entries in _groups(file, line, context).items():
        BystanderGroup.objects.update_or_create(
            line=line,
            owner=owner,
            defaults={
                "count": len(entries),
                "digest": _digest(entries),
                "sealed_entries": seal(
                    file.key, zstandard.compress(b"".join(entries)), _context(line, owner)
                ),
                "verdict": BystanderGroup.Verdict.OPEN,
                "lost": 0,
            },
        )
    line.detail = {**line.detail, "bystanders_noted": file.case.round}
    line.save(update_fields=["detail"])


def compare_after(file: CaseFile, line: SystemLine, context: Context) -> int:
    """Gives every group its verdict; returns how many stay unexplained."""
    now = _groups(file, line, context)
    others: set[bytes] | None = None
    for group in line.bystanders.all():
        after = now.get(group.owner, [])
        group.count_after, group.digest_after = len(after), _digest(after)
        if group.digest_after == group.digest:
            group.verdict, group.lost = BystanderGroup.Verdict.UNCHANGED, 0
        else:
            keys_after = {entry[:8] for entry in after}
            lost = {key for key in _keys_before(file, line, group) if key not in keys_after}
            if lost:
                others = others if others is not None else _taken_by_other_cases(line)
                lost -= others
            group.lost = len(lost)
            group.verdict = BystanderGroup.Verdict.UNEXPLAINED if lost else BystanderGroup.Verdict.CHANGED
        group.save(update_fields=["count_after", "digest_after", "verdict", "lost"])
    return line.bystanders.filter(verdict=BystanderGroup.Verdict.UNEXPLAINED).count()


def _groups(file: CaseFile, line: SystemLine, context: Context) -> Groups:
    groups: Groups = defaultdict(list)
    names: dict[str, str] = {}
    with places.verifier(line.environment, line.system, file.datamap) as verifier:
        for number, entry in enumerate(verifier.bystanders(file.scope)):
            groups[_name(names, entry)].append(entry.key + entry.content)
            if number % 20_000 == 0:
                context.heartbeat()
    for entries in groups.values():
        entries.sort()
    return groups


def _name(names: dict[str, str], entry: Entry) -> str:
    if entry.owner not in names:
        names[entry.owner] = pseudonyms.of("bystander", entry.owner)
    return names[entry.owner]


def _digest(entries: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for entry in entries:
        total.update(entry)
    return total.hexdigest()


def _keys_before(file: CaseFile, line: SystemLine, group: BystanderGroup) -> set[bytes]:
    plain = zstandard.decompress(
        unseal(file.key, bytes(group.sealed_entries or b""), _context(line, group.owner))
    )
    return {plain[start : start + 8] for start in range(0, len(plain), 16)}


def _taken_by_other_cases(line: SystemLine) -> set[bytes]:
    """Key hashes of what other cases destroyed in the same system and region since this case began."""
    began = line.canaries.order_by("planted_at").values_list("planted_at", flat=True).first()
    others = SystemLine.objects.filter(
        system=line.system, environment__region=line.environment.region
    ).exclude(case=line.case)
    if began is not None:
        others = others.filter(
            Q(chunks__erased_at__gte=began) | Q(chunks__erased_at=None, state=SystemLine.State.ERASING)
        )
    taken: set[bytes] = set()
    for other in others.distinct().select_related("case", "environment"):
        taken.update(manifest.destroyed_hashes(other, cases.key_of(other.case_id)))
    return taken


def _context(line: SystemLine, owner: str) -> str:
    return f"bystanders/{line.pk}/{owner}"
