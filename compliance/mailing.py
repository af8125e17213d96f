"""Plain-text mails from templates/mail/KIND.txt; the first line of a template is the subject."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from compliance import cases, statements
from compliance.models import Decision, ErasureRequest, Notice

# What the reason in a mail is read from: the decision that the mail tells of.
_DECISIONS = {
    "rejected": Decision.Kind.REJECT,
    "extended": Decision.Kind.EXTEND,
    "delayed": Decision.Kind.DELAY,
}


def template_of(kind: str) -> str:
    """`held_2` and `reminder_7` share the templates of `held` and `reminder`."""
    return re.sub(r"_\d+$", "", kind)


def compose(notice: Notice, to: str | None) -> EmailMessage:
    """The mail of a notice; without an address it goes to the compliance officers."""
    kind, request = template_of(notice.kind), notice.request
    text = render_to_string(f"mail/{kind}.txt", _context(kind, notice, request))
    subject, _, body = text.partition("\n")
    return EmailMessage(
        subject.strip(), body.strip() + "\n", settings.DEFAULT_FROM_EMAIL, [to or settings.COMPLIANCE_MAIL]
    )


def send(notice: Notice, to: str | None) -> None:
    """Sends the mail of a notice. Raises OSError or smtplib.SMTPException where the mail server does not take it."""
    compose(notice, to).send(fail_silently=False)


def _context(kind: str, notice: Notice, request: ErasureRequest) -> dict[str, Any]:
    retained = request.plan.get("retained", {})
    return {
        "request": request,
        "regime": request.get_regime_display(),
        "scope": "one user" if request.subject_kind == request.Subject.USER else "the whole tenant",
        "detail": notice.detail,
        "reason": _reason(kind, request),
        "retained": [
            {**kept, "category": name, "ground": statements.GROUNDS.get(kept["ground"], "")}
            for name, kept in sorted(retained.items())
        ],
        "remedies": statements.REMEDIES,
        "url": f"{settings.PUBLIC_URL}/admin/compliance/erasurerequest/{request.pk}/change/",
    }


def _reason(kind: str, request: ErasureRequest) -> str:
    if kind not in _DECISIONS:
        return ""
    decision = request.decisions.filter(kind=_DECISIONS[kind]).order_by("-decided_at").first()
    return cases.read_reason(decision) if decision else ""
