"""What may be destroyed: holds, and what is kept on a legal ground. Reads only; decides nothing by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.apps import apps

from compliance import pseudonyms
from compliance.models import ErasureRequest, LegalHold, RetentionRule

ALL = "*"


@dataclass(frozen=True, slots=True)
class Retention:
    """One category that is kept. A dated record stays until its date + `days`, so those dated before `since` may go;
    what has no date stays until `until`, counted from the request."""

    rule: str
    ground: str  # letter of Art. 17(3)
    citation: str
    days: int
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Judgement:
    """`holds` stop the whole request. `held_users` (pseudonyms, with their holds) are the held part of a tenant; they are
    in `holds` too until legal chooses to erase around them. `held_categories` are spared, the rest goes on."""

    holds: tuple[LegalHold, ...] = ()
    held_user_holds: tuple[LegalHold, ...] = ()
    held_users: frozenset[str] = frozenset()
    category_holds: tuple[LegalHold, ...] = ()
    held_categories: frozenset[str] = frozenset()
    retained: dict[str, Retention] = field(default_factory=dict)
    delayed_until: datetime | None = None
    all_retained: bool = False


@dataclass(frozen=True, slots=True)
class _Question:
    tenant_id: str
    tenant_kind: str
    subject: str  # pseudonym; empty for the whole tenant
    regime: str
    received_at: datetime
    around: frozenset[str]  # held users that legal chose to erase around


def judge(
    about: ErasureRequest | tuple[str, str | None], *, categories: Iterable[str], at: datetime
) -> Judgement:
    """The judgement on a request, or on (tenant id, user or None), for these data categories at a moment.

    `categories` are those of the data map that the subject may have; a rule for `*` holds for each of them.
    """
    question = _of_request(about) if isinstance(about, ErasureRequest) else _of_subject(*about, at)
    names = frozenset(categories) - {ALL}
    holds = list(
        LegalHold.objects.filter(tenant_id=question.tenant_id, state__in=LegalHold.BLOCKING).order_by(
            "placed_at", "id"
        )
    )
    retained = _retained(question, names, at)
    return Judgement(
        **_held(question, names, holds),  # type: ignore[arg-type]
        retained=retained,
        delayed_until=_delayed_until(question, about),
        all_retained=ALL in retained or (bool(names) and names <= retained.keys()),
    )


def _of_request(request: ErasureRequest) -> _Question:
    tenant_wide = request.subject_kind == ErasureRequest.Subject.TENANT
    return _Question(
        tenant_id=request.tenant_id,
        tenant_kind=request.tenant.kind,
        subject="" if tenant_wide else request.subject_pseudonym,
        regime=request.regime,
        received_at=request.received_at,
        around=frozenset(request.plan.get("held_users", [])) if request.around_hold else frozenset(),
    )


def _of_subject(tenant_id: str, user: str | None, at: datetime) -> _Question:
    tenant = apps.get_model("lifecycle", "Tenant").objects.filter(pk=tenant_id).first()
    subject = pseudonyms.of_user(tenant_id, user) if user else ""
    return _Question(tenant_id, tenant.kind if tenant else "", subject, "", at, frozenset())


def _held(question: _Question, names: frozenset[str], holds: list[LegalHold]) -> dict[str, object]:
    whole: list[LegalHold] = []
    users: list[LegalHold] = []
    parts: list[LegalHold] = []
    for hold in holds:
        if question.subject and hold.subject_pseudonym not in ("", question.subject):
            continue
        if not question.subject and hold.subject_pseudonym:
            users.append(hold)
        elif hold.category:
            parts.append(hold)
        else:
            whole.append(hold)
    held_categories = frozenset(hold.category for hold in parts)
    if names and names <= held_categories:
        whole += parts
    whole += [hold for hold in users if hold.subject_pseudonym not in question.around]
    return {
        "holds": tuple(whole),
        "held_user_holds": tuple(users),
        "held_users": frozenset(hold.subject_pseudonym for hold in users),
        "category_holds": tuple(parts),
        "held_categories": held_categories,
    }


def _rules(question: _Question, basis: RetentionRule.Basis) -> list[RetentionRule]:
    # The longest last, so that it wins where several speak of one category.
    return list(
        RetentionRule.objects.filter(
            active=True, basis=basis, tenant_kind__in=["", question.tenant_kind]
        ).order_by("days", "name")
    )


def _retained(question: _Question, names: frozenset[str], at: datetime) -> dict[str, Retention]:
    found: dict[str, Retention] = {}
    for rule in _rules(question, RetentionRule.Basis.STATUTE):
        span = timedelta(days=rule.days)
        kept = Retention(
            rule.name, rule.ground, rule.citation, rule.days, at - span, question.received_at + span
        )
        if kept.until <= at:
            continue  # not even a record of the day of the request is kept any longer
        for category in (names or {ALL}) if rule.category == ALL else {rule.category}:
            if not names or category in names:
                found[category] = kept
    return found


def _delayed_until(question: _Question, about: object) -> datetime | None:
    if isinstance(about, ErasureRequest) and about.plan.get("delayed_until"):
        return datetime.fromisoformat(about.plan["delayed_until"])
    if question.regime != ErasureRequest.Regime.ART28:
        return None
    rules = _rules(question, RetentionRule.Basis.CONTRACT)
    return question.received_at + timedelta(days=rules[-1].days) if rules else None
