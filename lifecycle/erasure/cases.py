"""A case: the executing side of one request, its key, and the scope that every adapter is given.

What names a person is read here, from sealed columns, into memory only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from compliance import cases as sealed
from compliance import pseudonyms
from compliance.judgement import Judgement, judge
from compliance.keystore import default as keystore
from compliance.models import ErasureRequest
from compliance.sealing import seal_json, unseal_json
from lifecycle import places, tenants
from lifecycle.datamap.model import DataMap
from lifecycle.models import ErasureCase, Run, SystemLine
from lifecycle.systems.base import Scope, Subject

WORKFLOW = "erasure"


@dataclass(frozen=True)
class CaseFile:
    """Everything one slice of work needs: rows, key, map, subject, scope."""

    request: ErasureRequest
    case: ErasureCase
    key: bytes
    datamap: DataMap
    scope: Scope
    judgement: Judgement

    def lines(self, system: str) -> list[SystemLine]:
        """The lines of one system, one per environment, home first."""
        return list(self.case.lines.filter(system=system).select_related("environment").order_by("id"))


def key_of(request_id: str) -> bytes:
    """The case key. Raises KeyDestroyed once the case is closed."""
    return keystore().get(f"case/{request_id}")


def open_case(request: ErasureRequest) -> ErasureCase:
    """The case of a request, with a line for each system of each environment of the tenant; idempotent."""
    case, _ = ErasureCase.objects.get_or_create(request=request)
    for environment in places.environments(request.tenant_id):
        for system in places.systems_of(environment):
            SystemLine.objects.get_or_create(case=case, environment=environment, system=system)
    return case


def read(run: Run) -> CaseFile:
    """The case that a run works on, read anew: nothing is remembered between slices."""
    request = ErasureRequest.objects.select_related("tenant").get(pk=run.subject)
    return of_request(request)


def of_request(request: ErasureRequest) -> CaseFile:
    """As `read`, from the request."""
    case = ErasureCase.objects.get(request=request)
    key = key_of(request.pk)
    datamap = tenants.current_map()
    judgement = judge(request, categories=datamap.categories, at=timezone.now())
    return CaseFile(request, case, key, datamap, scope(request, case, key, judgement), judgement)


def subject(request: ErasureRequest) -> Subject:
    """Who the request is about, unsealed."""
    content = sealed.read(request)
    known = content.get("identifiers") or {}
    return Subject(
        tenant=request.tenant_id,
        user=content.get("user") or None,
        mails=tuple(known.get("mails", ())),
        names=tuple(known.get("names", ())),
    )


def scope(request: ErasureRequest, case: ErasureCase | None, key: bytes, judgement: Judgement) -> Scope:
    """What an adapter may know and must spare. Held and retained parts are in it, so that no adapter asks elsewhere."""
    who = subject(request)
    anchors: dict[str, tuple[str, ...]] = {}
    canaries: tuple[str, ...] = ()
    if case is not None:
        if case.sealed_anchors:
            found = unseal_json(key, bytes(case.sealed_anchors), f"anchors/{request.pk}")
            anchors = {kind: tuple(values) for kind, values in found.items()}
        canaries = tuple(
            case.lines.filter(canaries__marker__isnull=False).values_list("canaries__marker", flat=True)
        )
    spared = frozenset(_held_users(request, judgement))
    return Scope(
        subject=who,
        anchors=anchors,
        spared_users=spared,
        retained={category: each.since for category, each in judgement.retained.items()},
        held_categories=frozenset(judgement.held_categories),
        canaries=canaries,
        pseudonym=f"erased-{pseudonyms.of('platform', request.pk, who.tenant, who.user or '')[:20]}",
    )


def _held_users(request: ErasureRequest, judgement: Judgement) -> list[str]:
    """User ids of held custodians inside a tenant that is erased around the hold."""
    if not (request.around_hold and judgement.held_users):
        return []
    from compliance.actions.holds import custodian  # sealed ids are the holds' own

    return [user for hold in judgement.held_user_holds if (user := custodian(hold))]


def anchors_digest(anchors: Mapping[str, tuple[str, ...]]) -> str:
    """SHA-256 over sorted anchors, so that a change after a lane's verification is seen."""
    plain = {kind: sorted(set(values)) for kind, values in sorted(anchors.items())}
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def keep_anchors(file: CaseFile, anchors: Mapping[str, tuple[str, ...]]) -> None:
    """Adds to the case's sealed anchors; what is known already is kept."""
    merged: dict[str, tuple[str, ...]] = dict(file.scope.anchors)
    for kind, values in anchors.items():
        merged[kind] = tuple(sorted({*merged.get(kind, ()), *values}))
    plain: dict[str, Any] = {kind: list(values) for kind, values in merged.items()}
    file.case.sealed_anchors = seal_json(file.key, plain, f"anchors/{file.request.pk}")
    file.case.anchors_digest = anchors_digest(merged)
    file.case.save(update_fields=["sealed_anchors", "anchors_digest"])
