"""Placing and releasing legal holds. `place` returns when the fence is certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Any

from django.apps import apps
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from compliance import audit, fence, pseudonyms, signals
from compliance.access import lacks
from compliance.actions import executing, states
from compliance.actors import LEGAL, SYSTEM, SYSTEM_ROLE, Actor
from compliance.errors import Refused, refuse_if
from compliance.judgement import judge
from compliance.keystore import KeyDestroyed, KeyMissing
from compliance.keystore import default as keystore
from compliance.models import ErasureRequest, LegalHold
from compliance.models.base import new_id
from compliance.sealing import seal_json, unseal_json
from compliance.statements import RETAINED

S = LegalHold.State
# How long `place` moves requests after the fence is certain; what is left, the executing side's own gate moves.
_STOP_SECONDS = 2.0


def check_place(
    *, actor: Actor, tenant_id: str, case_reference: str, type: str, until: datetime | None = None
) -> list[str]:
    """Why the actor can't place this hold; empty where they can."""
    reasons = lacks(actor, LEGAL)
    if actor.user_id is None:
        reasons.append("A hold is placed by a named person.")
    if not apps.get_model("lifecycle", "Tenant").objects.filter(pk=tenant_id).exists():
        reasons.append(f"There is no tenant {tenant_id}.")
    if not case_reference.strip():
        reasons.append("Name the case that the hold serves.")
    if type not in LegalHold.Type.values:
        reasons.append(f"The type of a hold is one of {', '.join(LegalHold.Type.values)}.")
    if until is not None and until <= timezone.now():
        reasons.append("The hold's last day lies in the past.")
    return reasons


def place(
    *,
    actor: Actor,
    tenant_id: str,
    case_reference: str,
    type: str,
    user: str | None = None,
    category: str = "",
    until: datetime | None = None,
    confidential: bool = False,
    reason: str = "",
) -> LegalHold:
    """Commits the hold, waits until no deletion in its scope is in flight (10 s at most), stops the requests it covers.

    It covers the tenant, or one `user`, and all data categories or one. Returns it in state `preserving`; a durable run
    puts what lies at providers under their own holds. `in_doubt` names the systems that never answered what was sent to
    them before: a server that was stopped may still end what it had begun. Raises Refused, and fence.FenceTimeout with
    the hold in force.
    """
    if connection.in_atomic_block and not _in_test_case():
        raise RuntimeError("A hold is placed outside any transaction: it counts once it is committed.")
    refuse_if(
        check_place(actor=actor, tenant_id=tenant_id, case_reference=case_reference, type=type, until=until)
    )
    hold = LegalHold(
        id=new_id("lh"), tenant_id=tenant_id, subject_pseudonym=pseudonyms.of_user(tenant_id, user) if user else "",
        category=category, case_reference=case_reference.strip(), type=type, until=until, confidential=confidential,
        placed_by_id=actor.user_id or 0, state=S.PRESERVING,
    )  # fmt: skip
    key = keystore().create(_key_name(hold))
    hold.sealed = seal_json(key, {"user": user or "", "reason": reason}, f"hold/{hold.pk}")
    with transaction.atomic():
        hold.save(force_insert=True)
        # What a hidden hold is about is legal's alone; auditors read this too.
        data: dict[str, Any] = {"hidden": hold.hidden}
        if not hold.hidden:
            data |= {"type": type, "scope": "user" if user else "tenant", "category": category}
        audit.record("hold.placed", actor=actor, tenant_id=tenant_id, case_id=hold.pk, data=data)
        signals.announce(signals.hold_placed, hold_id=hold.pk)
    seconds, in_doubt = fence.wait_out(hold)
    LegalHold.objects.filter(pk=hold.pk).update(in_doubt=in_doubt)
    stopped = _stop_requests(hold)
    in_force = {"milliseconds": int(seconds * 1000), "stopped": stopped, "in_doubt": in_doubt}
    audit.record_now("hold.in_force", actor=SYSTEM, tenant_id=tenant_id, case_id=hold.pk, data=in_force)
    hold.refresh_from_db()
    return hold


def custodian(hold: LegalHold) -> str | None:
    """The held user's id in clear; None for a whole tenant. Never store or log it. Raises KeyDestroyed after the case."""
    if not hold.subject_pseudonym:
        return None
    return str(_sealed(hold)["user"])


def check_read_custodian(hold: LegalHold, *, actor: Actor) -> list[str]:
    """Why the actor may not see whose data is held; empty where they may."""
    return lacks(actor, LEGAL) or (
        [] if hold.sealed else [f"Who hold {hold.pk} was about is gone with its key."]
    )


def read_custodian(hold: LegalHold, *, actor: Actor) -> str | None:
    """The held user's id for a person of legal; the look is audited. Raises Refused."""
    refuse_if(check_read_custodian(hold, actor=actor))
    user = custodian(hold)
    audit.record_now("hold.read", actor=actor, tenant_id=hold.tenant_id, case_id=hold.pk)
    return user


def reason_of(hold: LegalHold) -> str:
    """Why it was placed, as legal typed it; empty once its key is gone."""
    try:
        return str(_sealed(hold)["reason"]) if hold.sealed else ""
    except (KeyDestroyed, KeyMissing):
        return ""


def record_preserved(
    hold: LegalHold, *, actor: Actor, preserved: Mapping[str, int], already_gone: Sequence[Any]
) -> LegalHold:
    """What lies under the providers' own holds now ({system: count}), and what they had accepted to delete before."""
    with transaction.atomic():
        row = _locked(hold)
        row.preserved, row.already_gone = dict(preserved), list(already_gone)
        if row.state == S.PRESERVING:
            row.state = S.ACTIVE
        row.save(update_fields=["preserved", "already_gone", "state"])
        data = {"preserved": row.preserved, "already_gone": len(row.already_gone)}
        audit.record("hold.preserved", actor=actor, tenant_id=row.tenant_id, case_id=row.pk, data=data)
    hold.refresh_from_db()
    return hold


def check_release(hold: LegalHold, *, actor: Actor, reason: str) -> list[str]:
    """Why the actor can't ask for, or confirm, the release; empty where they can."""
    reasons = lacks(actor, LEGAL)
    if reasons and hold.hidden:
        return [*reasons, f"{RETAINED[0].upper()}{RETAINED[1:]}."]
    if actor.user_id is None:
        reasons.append("A hold is released by named persons.")
    if not reason.strip():
        reasons.append("Give a reason for the release.")
    if hold.state not in LegalHold.BLOCKING:
        reasons.append(f"Hold {hold.pk} is {hold.get_state_display()} already.")
    if hold.state == S.RELEASE_REQUESTED and hold.release_requested_by_id == actor.user_id:
        reasons.append(f"{actor.name} asked for the release; a second person must confirm it.")
    return reasons


def release(hold: LegalHold, *, actor: Actor, reason: str) -> LegalHold:
    """The first call asks (still blocking, `release_requested`); a second person's releases. Raises Refused."""
    with transaction.atomic():
        row = _locked(hold)
        refuse_if(check_release(row, actor=actor, reason=reason))
        if row.state != S.RELEASE_REQUESTED:
            row.release_requested_by_id, row.release_requested_at = actor.user_id, timezone.now()
            _change(row, S.RELEASE_REQUESTED, actor, reason, "release_requested_by", "release_requested_at")
        else:
            row.released_by_id, row.released_at = actor.user_id, timezone.now()
            _change(row, S.RELEASED, actor, reason, "released_by", "released_at")
            signals.announce(signals.hold_lifted, hold_id=row.pk)
    hold.refresh_from_db()
    return hold


def check_expire(hold: LegalHold) -> list[str]:
    """Why the hold has not expired; empty where it has."""
    if hold.state not in LegalHold.BLOCKING:
        return [f"Hold {hold.pk} is {hold.get_state_display()} already."]
    if hold.until is None or hold.until > timezone.now():
        return [f"Hold {hold.pk} has not reached its last day."]
    return []


def expire(hold: LegalHold, *, actor: Actor) -> LegalHold:
    """Ends a hold whose last day has passed. Raises Refused."""
    with transaction.atomic():
        row = _locked(hold)
        refuse_if([*check_expire(row), *lacks(actor, SYSTEM_ROLE, LEGAL)])
        row.released_at = timezone.now()
        _change(row, S.EXPIRED, actor, "", "released_at")
        signals.announce(signals.hold_lifted, hold_id=row.pk)
    hold.refresh_from_db()
    return hold


def _change(row: LegalHold, to: S, actor: Actor, reason: str, *fields: str) -> None:
    old, row.state = row.state, to
    if reason:
        earlier = (
            unseal_json(_key(row), row.sealed_release_reason, f"release/{row.pk}")
            if row.sealed_release_reason
            else []
        )
        row.sealed_release_reason = seal_json(_key(row), [*earlier, reason], f"release/{row.pk}")
        fields = (*fields, "sealed_release_reason")
    row.save(update_fields=["state", *fields])
    audit.record(
        f"hold.{to}", actor=actor, tenant_id=row.tenant_id, case_id=row.pk, data={"from": old, "to": to}
    )


def _stop_requests(hold: LegalHold) -> list[str]:
    """Moves what the hold covers to `blocked_by_hold`. One that is locked by its worker is stopped by the fence instead."""
    stopped: list[str] = []
    ends = monotonic() + _STOP_SECONDS
    for request in ErasureRequest.objects.filter(
        tenant_id=hold.tenant_id, state__in=states.STOPPABLE
    ).select_related("tenant"):
        covering = judge(request, categories=(), at=timezone.now()).holds
        if monotonic() > ends:
            break
        if hold.pk not in {each.pk for each in covering}:
            continue
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '500ms'")
                executing.block(request, covering, actor=SYSTEM)
        except (DatabaseError, Refused):
            continue
        stopped.append(request.pk)
    return stopped


def _locked(hold: LegalHold) -> LegalHold:
    return LegalHold.objects.select_for_update(of=("self",)).get(pk=hold.pk)


def _key_name(hold: LegalHold) -> str:
    return f"hold/{hold.pk}"


def _key(hold: LegalHold) -> bytes:
    return keystore().get(_key_name(hold))


def _sealed(hold: LegalHold) -> dict[str, Any]:
    content: dict[str, Any] = unseal_json(_key(hold), hold.sealed or b"", f"hold/{hold.pk}")
    return content


def _in_test_case() -> bool:
    return bool(connection.atomic_blocks and getattr(connection.atomic_blocks[-1], "_from_testcase", False))
