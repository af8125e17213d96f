"""API tokens: shown once, kept as a hash, bound to one person, one tenant, one requester and some scopes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256

from django.apps import apps
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from compliance import audit, pseudonyms
from compliance.access import lacks
from compliance.actors import COMPLIANCE, ENGINEER, LEGAL, SYSTEM_ROLE, Actor
from compliance.errors import refuse_if
from compliance.models import ApiToken

_PREFIX = "tlt_"
_LONGEST_DAYS = 366
_PERSONAL = frozenset({ApiToken.Scope.DECIDE, ApiToken.Scope.HOLD, ApiToken.Scope.RUN})


def check_issue(
    *, actor: Actor, user: User, tenant_id: str, scopes: Iterable[str], requested_by: str = "", days: int = 90
) -> list[str]:
    """Why the actor can't issue this token; empty where they can.

    Who issues a token knows its clear text: with another's scope to decide, one person could be both approvers.
    """
    wanted, own = set(scopes), actor.user_id == user.pk
    reasons = lacks(actor, COMPLIANCE, ENGINEER, SYSTEM_ROLE, *([LEGAL] if own else []))
    personal = sorted(wanted & _PERSONAL)
    if personal and not own:
        reasons.append(f"A token with the scope {', '.join(personal)} is issued by its owner alone.")
    if not user.is_active:
        reasons.append("The account is not active.")
    if ApiToken.Scope.REQUEST in wanted and not requested_by:
        reasons.append("Name the one requester that a token with the scope request may ask for.")
    if not wanted:
        reasons.append("Name at least one scope.")
    if not apps.get_model("lifecycle", "Tenant").objects.filter(pk=tenant_id).exists():
        reasons.append(f"There is no tenant {tenant_id}.")
    unknown = sorted(wanted - set(ApiToken.Scope.values))
    if unknown:
        reasons.append(f"Unknown scopes: {', '.join(unknown)}. Known are {', '.join(ApiToken.Scope.values)}.")
    if not 1 <= days <= _LONGEST_DAYS:
        reasons.append(f"A token lives 1 to {_LONGEST_DAYS} days.")
    return reasons


def issue(
    *,
    actor: Actor,
    user: User,
    tenant_id: str,
    name: str,
    scopes: Iterable[str],
    requested_by: str = "",
    days: int = 90,
) -> tuple[ApiToken, str]:
    """(token, its clear text, which is never to be had again). `requested_by` is the one mail it may ask for. Raises Refused."""
    wanted = sorted(set(scopes))
    refuse_if(
        check_issue(
            actor=actor, user=user, tenant_id=tenant_id, scopes=wanted, requested_by=requested_by, days=days
        )
    )
    clear = _PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user, tenant_id=tenant_id, name=name, digest=digest(clear), scopes=wanted,
            requester_mail_hmac=pseudonyms.of_mail(requested_by) if requested_by else "",
            expires_at=timezone.now() + timedelta(days=days),
        )  # fmt: skip
        data = {"token": token.pk, "scopes": wanted, "days": days}
        audit.record("token.issued", actor=actor, tenant_id=tenant_id, data=data)
    return token, clear


def check_revoke(token: ApiToken, *, actor: Actor) -> list[str]:
    """Why the actor can't revoke it; empty where they can. Owners may always."""
    return [] if actor.user_id == token.user_id else lacks(actor, COMPLIANCE, ENGINEER, SYSTEM_ROLE)


def revoke(token: ApiToken, *, actor: Actor) -> ApiToken:
    """Ends a token at once; again changes nothing. Raises Refused."""
    refuse_if(check_revoke(token, actor=actor))
    with transaction.atomic():
        changed = ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
        if changed:
            audit.record("token.revoked", actor=actor, tenant_id=token.tenant_id, data={"token": token.pk})
    token.refresh_from_db()
    return token


def find(clear: str) -> ApiToken | None:
    """The token behind its clear text, where it is in force and its owner's account active; notes the use."""
    now = timezone.now()
    token = (
        ApiToken.objects.select_related("user")
        .filter(digest=digest(clear), revoked_at=None, expires_at__gt=now)
        .first()
    )
    if token is None or not token.user.is_active:
        return None
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def digest(clear: str) -> str:
    """SHA-256 of the clear text; its 256 random bits need no salt."""
    return sha256(clear.encode()).hexdigest()
