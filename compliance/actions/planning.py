"""The plan of a request: what was found, what is kept, what a decision is bound to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from compliance import audit, cases, pseudonyms, statements
from compliance.actions import notices, states
from compliance.actors import Actor
from compliance.errors import Refused, refuse_if
from compliance.judgement import Judgement, judge
from compliance.models import Decision, ErasureRequest, Recipient

S = ErasureRequest.State
_PLANNABLE = frozenset(
    {S.RECEIVED, S.VALIDATED, S.AWAITING_APPROVAL, S.SCHEDULED, S.EXECUTING, S.BLOCKED_BY_HOLD, S.RETAINED}
)
Found = Mapping[str, Mapping[str, Any]]


def check_record_plan(request: ErasureRequest, *, found: Found, drift: Sequence[str]) -> list[str]:
    """Why there can be no plan; empty where there can."""
    if request.closed_at is not None or request.state not in _PLANNABLE:
        return [f"Request {request.pk} is {statements.shown_state(request)}; it is not planned any more."]
    if drift:
        return [
            f"The data map leaves something unclassified, so nothing is erased: {sentence}"
            for sentence in drift
        ]
    if request.state in (S.RECEIVED, S.VALIDATED) and not any(
        int(each.get("found", 0)) for each in found.values()
    ):
        return [
            "No system holds anything of this subject: there is nobody of that name. Check the name, or reject the request."
        ]
    return []


def record_plan(
    request: ErasureRequest,
    *,
    actor: Actor,
    found: Found,
    identifiers: Mapping[str, Any],
    datamap_version: int,
    datamap_digest: str,
    drift: Sequence[str],
    recipients: Iterable[tuple[str, str]],
    categories: Sequence[str] = (),
) -> ErasureRequest:
    """Stores the preview and the plan; the request goes to `awaiting_approval`, `blocked_by_hold` or `retained`.

    `found` is {system: {"found", "kinds", "actions"}}; `identifiers` ({mails, names}) are sealed. A plan that differs
    from the one before has another digest, which voids standing approvals. Raises Refused, with the reason noted.
    """
    reasons = check_record_plan(request, found=found, drift=drift)
    if reasons:
        _note_refusal(request, reasons, actor)
        raise Refused(reasons)
    with transaction.atomic():
        row = states.locked(request)
        refuse_if(check_record_plan(row, found=found, drift=drift))
        judged = judge(row, categories=categories, at=timezone.now())
        before = row.digest
        lines = [(name, kind) for name, kind in recipients]
        plan = _plan(
            row, judged, found, identifiers, (datamap_version, datamap_digest), [name for name, _ in lines]
        )
        content = {**cases.read(row), "identifiers": dict(identifiers)}
        row.sealed, row.plan, row.preview, row.preview_at = (
            cases.write(row, content),
            plan,
            _plain(found),
            timezone.now(),
        )
        row.save(update_fields=["sealed", "plan", "preview", "preview_at"])
        row.refresh_from_db()  # the database computes the digest
        for name, kind in lines:
            Recipient.objects.get_or_create(request=row, name=name, defaults={"kind": kind})
        voided = void_approvals(row) if row.digest != before else 0
        _place(row, judged, voided, found, actor)
    return states.mirror(request)


def void_approvals(row: ErasureRequest) -> int:
    """Voids every standing approval of a locked request; how many."""
    return row.decisions.filter(kind=Decision.Kind.APPROVE, voided_at=None).update(voided_at=timezone.now())


def came_due(request: ErasureRequest, now: datetime) -> list[str]:
    """Categories whose retention ended since the request was last completed (or retained): time to reopen that part."""
    since = request.completed_at or request.preview_at or request.filed_at
    kept = request.plan.get("retained", {})
    return sorted(name for name, each in kept.items() if since < datetime.fromisoformat(each["until"]) <= now)


def grown(request: ErasureRequest, found: Mapping[str, int]) -> list[str]:
    """Systems that hold more than GROWTH_LIMIT (20 %) above what the approvers were shown."""
    return sorted(
        system
        for system, number in found.items()
        if number > int(request.preview.get(system, {}).get("found", 0)) * (1 + settings.GROWTH_LIMIT)
    )


def _outgrew(row: ErasureRequest, found: Found) -> bool:
    """True where much more is there than was shown before: who saw that has not seen this."""
    return bool(row.preview) and bool(grown(row, {name: int(each["found"]) for name, each in found.items()}))


def _plan(
    row: ErasureRequest,
    judged: Judgement,
    found: Found,
    identifiers: Mapping[str, Any],
    datamap: tuple[int, str],
    recipients: list[str],
) -> dict[str, Any]:
    retained: dict[str, dict[str, Any]] = {
        name: {
            "rule": kept.rule,
            "ground": kept.ground,
            "citation": kept.citation,
            "days": kept.days,
            "until": audit.stamp(kept.until),
        }
        for name, kept in sorted(judged.retained.items())
    }
    named = json.dumps(
        {kind: sorted(values) for kind, values in sorted(identifiers.items())}, ensure_ascii=False
    )
    return {
        "systems": sorted(found),
        "datamap_version": datamap[0],
        "datamap_digest": datamap[1],
        "identifiers": pseudonyms.of("identifiers", row.pk, named),
        "retained": retained,
        "retained_until": min((kept["until"] for kept in retained.values()), default=None),
        "held_categories": sorted(judged.held_categories),
        "held_users": row.plan.get("held_users", []) if row.around_hold else [],
        "delayed_until": audit.stamp(judged.delayed_until) if judged.delayed_until else None,
        "recipients": sorted(recipients),
        "revision": int(row.plan.get("revision", 1)) + _outgrew(row, found),
    }


def _plain(found: Found) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps({name: dict(each) for name, each in found.items()}))
    return plain


def _all_kept(judged: Judgement, found: Found) -> bool:
    actions = [each["actions"] for each in found.values() if "actions" in each]
    if not actions:
        return judged.all_retained
    kept = sum(int(each.get("retain", 0)) for each in actions)
    return kept > 0 and not any(int(each.get("erase", 0)) + int(each.get("anonymise", 0)) for each in actions)


def _place(row: ErasureRequest, judged: Judgement, voided: int, found: Found, actor: Actor) -> None:
    data = {
        "digest": row.digest,
        "voided": voided,
        "found": {name: int(each.get("found", 0)) for name, each in sorted(found.items())},
    }
    if row.state == S.RECEIVED:
        states.transition(row, S.VALIDATED, actor=actor, data={"digest": row.digest})
    if judged.holds:
        _stop(row, judged, data, actor)
    elif not voided and _under_way(row):
        audit.record("request.planned", actor=actor, tenant_id=row.tenant_id, case_id=row.pk, data=data)
    elif _all_kept(judged, found) and row.state not in (S.SCHEDULED, S.EXECUTING):
        notices.add(row, "retained")
        if row.state != S.RETAINED:
            until = row.plan["retained_until"] or ""
            states.transition(
                row,
                S.RETAINED,
                actor=actor,
                why=f"All of it is kept on a legal ground until {until[:10]}.",
                data=data,
            )
    elif row.state == S.AWAITING_APPROVAL:
        audit.record("request.planned", actor=actor, tenant_id=row.tenant_id, case_id=row.pk, data=data)
    else:
        states.transition(row, S.AWAITING_APPROVAL, actor=actor, why="It waits for approval.", data=data)


def _under_way(row: ErasureRequest) -> bool:
    return (row.resume_state if row.state == S.BLOCKED_BY_HOLD else row.state) in states.APPROVED


def _stop(row: ErasureRequest, judged: Judgement, data: dict[str, Any], actor: Actor) -> None:
    notices.add(row, "held")
    if row.state == S.BLOCKED_BY_HOLD:
        early = row.resume_state in (S.RECEIVED, S.VALIDATED, "") or bool(data["voided"])
        ErasureRequest.objects.filter(pk=row.pk).update(
            resume_state=S.AWAITING_APPROVAL if early else row.resume_state
        )
        audit.record("request.planned", actor=actor, tenant_id=row.tenant_id, case_id=row.pk, data=data)
        return
    keeps = row.state in (S.SCHEDULED, S.EXECUTING) and not data["voided"]
    why = statements.of_holds(judged.holds)
    states.transition(
        row,
        S.BLOCKED_BY_HOLD,
        actor=actor,
        why=why,
        data=data,
        resume_state=row.state if keeps else S.AWAITING_APPROVAL,
    )


def _note_refusal(request: ErasureRequest, reasons: list[str], actor: Actor) -> None:
    if request.closed_at is not None or request.state not in (S.RECEIVED, S.VALIDATED, S.AWAITING_APPROVAL):
        return
    with transaction.atomic():
        ErasureRequest.objects.filter(pk=request.pk).update(state_reason=" ".join(reasons)[:500])
        audit.record(
            "request.plan_refused",
            actor=actor,
            tenant_id=request.tenant_id,
            case_id=request.pk,
            data={"reasons": len(reasons)},
        )
