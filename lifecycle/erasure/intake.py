"""Taking a request in: filing it, counting what every system holds while the requester waits, planning it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.utils import timezone

from compliance.actions import filing, planning
from compliance.actors import Actor
from compliance.judgement import judge
from compliance.models import ErasureRequest
from lifecycle import places, tenants
from lifecycle.datamap.model import DataMap
from lifecycle.erasure import cases, drifting
from lifecycle.models import Environment, Tenant
from lifecycle.systems.base import Action, Scope, Subject

Progress = Callable[[str, int], None]


def request(
    *,
    actor: Actor,
    tenant_id: str,
    requested_by: str,
    user: str | None = None,
    regime: str = "gdpr17",
    ground: str = "b",
    received_at: datetime | None = None,
    reason: str = "",
    signature: str | None = None,
    progress: Progress | None = None,
) -> ErasureRequest:
    """Files a request and previews it. Raises Refused with sentences (authority, drift, nobody of that name, holds)."""
    filed = filing.file_request(
        actor=actor,
        tenant_id=tenant_id,
        user=user,
        requested_by=requested_by,
        regime=regime,
        ground=ground,
        received_at=received_at,
        reason=reason,
        signature=signature,
    )
    return preview(filed, actor=actor, progress=progress)


def preview(request: ErasureRequest, *, actor: Actor, progress: Progress | None = None) -> ErasureRequest:
    """Counts what each system holds and binds the plan to it. A changed plan voids standing approvals."""
    datamap = tenants.current_map()
    key = cases.key_of(request.pk)
    judgement = judge(request, categories=datamap.categories, at=timezone.now())
    scope = cases.scope(request, None, key, judgement)
    scope, found = count(request.tenant, scope, datamap, progress)
    subject = scope.subject
    drift = drifting.sentences(request.tenant_id, scope, datamap)
    return planning.record_plan(
        request,
        actor=actor,
        found=found,
        identifiers={"mails": list(subject.mails), "names": list(subject.names)},
        datamap_version=datamap.version,
        datamap_digest=datamap.digest,
        drift=drift,
        recipients=[
            (each.name, each.kind) for each in datamap.recipients if request.subject_kind in each.subjects
        ],
    )


def count(
    tenant: Tenant, scope: Scope, datamap: DataMap, progress: Progress | None = None
) -> tuple[Scope, dict[str, dict[str, Any]]]:
    """(scope completed with mails, names and anchors, {system: {"found", "kinds", "actions"}}) over every environment."""
    environments = places.environments(tenant)
    scope = _completed(environments, scope, datamap)
    found: dict[str, dict[str, Any]] = {}
    for environment in environments:
        for system in places.systems_of(environment):
            kinds, actions = _count_one(environment, system, scope, datamap, progress)
            total = found.setdefault(system, {"found": 0, "kinds": Counter(), "actions": Counter()})
            total["found"] += sum(kinds.values())
            total["kinds"] += kinds
            total["actions"] += actions
    plain = {
        name: {"found": each["found"], "kinds": dict(each["kinds"]), "actions": dict(each["actions"])}
        for name, each in found.items()
    }
    return scope, plain


def _completed(environments: list[Environment], scope: Scope, datamap: DataMap) -> Scope:
    subject, anchors = scope.subject, dict(scope.anchors)
    mails, names = set(subject.mails), set(subject.names)
    for environment in environments:
        if "postgresql" not in environment.places:
            continue
        with places.eraser(environment, "postgresql", datamap) as eraser:
            known = eraser.identify(scope)
            mails |= set(known.mails)
            names |= set(known.names)
            for kind, values in eraser.anchors(scope).items():
                anchors[kind] = tuple(sorted({*anchors.get(kind, ()), *values}))
    return Scope(
        subject=Subject(subject.tenant, subject.user, tuple(sorted(mails)), tuple(sorted(names))),
        anchors=anchors,
        spared_users=scope.spared_users,
        retained=scope.retained,
        held_categories=scope.held_categories,
        pseudonym=scope.pseudonym,
    )


def _count_one(
    environment: Environment, system: str, scope: Scope, datamap: DataMap, progress: Progress | None
) -> tuple[Counter[str], Counter[str]]:
    kinds: Counter[str] = Counter()
    actions: Counter[str] = Counter()
    cursor: Any = None
    with places.eraser(environment, system, datamap) as eraser:
        while True:
            page = eraser.discover(scope, cursor)
            for item in page.entries:
                kinds[item.kind] += 1
                actions[str(Action(item.action))] += 1
            cursor = page.cursor
            if progress is not None:
                progress(system, sum(kinds.values()))
            if cursor is None:
                return kinds, actions
