"""Retention rules: what is kept on a legal ground. They are switched off, never deleted."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from compliance import audit
from compliance.access import lacks
from compliance.actors import COMPLIANCE, LEGAL, Actor
from compliance.errors import refuse_if
from compliance.models import RetentionRule

FIELDS = ("name", "tenant_kind", "category", "basis", "ground", "citation", "days", "active")


def check_save_rule(rule: RetentionRule, *, actor: Actor) -> list[str]:
    """Why the actor can't keep this rule; empty where they can."""
    reasons = lacks(actor, COMPLIANCE, LEGAL)
    if not rule.name.strip() or not rule.category.strip():
        reasons.append("Name the rule and the data category that it keeps (* for all).")
    if not rule.citation.strip():
        reasons.append("Cite the statute or the contract that the rule rests on.")
    if rule.basis not in RetentionRule.Basis.values or rule.ground not in RetentionRule.Ground.values:
        reasons.append("Choose the basis and the ground from the lists.")
    if not rule.days:
        reasons.append("Say for how many days records are kept.")
    return reasons


def save_rule(rule: RetentionRule, *, actor: Actor) -> RetentionRule:
    """Adds the rule, or changes it. Plans made before are judged anew when they are next previewed. Raises Refused."""
    with transaction.atomic():
        refuse_if(check_save_rule(rule, actor=actor))
        made = rule.pk is None
        rule.save()
        data: dict[str, Any] = {"rule": rule.pk, **{name: getattr(rule, name) for name in FIELDS}}
        audit.record("retention.added" if made else "retention.changed", actor=actor, data=data)
    return rule
